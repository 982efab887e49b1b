package control

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/forwarder/frame"
)

func TestExplainRefuses(t *testing.T) {
	d := newDirector(t, farm)
	for _, tt := range []struct {
		req  ExplainRequest
		says string
	}{
		{ExplainRequest{}, `src "": want ADDRESS:PORT`},
		{ExplainRequest{Source: "198.51.100.7", Destination: web}, "src"},
		{ExplainRequest{Source: "198.51.100.7:1"}, `dst ""`},
		{ExplainRequest{Source: "198.51.100.7:1", Destination: "www:80"}, `dst "www:80"`},
		{ExplainRequest{Source: "[fe80::1%eth0]:1", Destination: "[2001:db8::1]:80"}, "src"},
		{ExplainRequest{Source: "[2001:db8::7]:1", Destination: web}, "not of one family"},
		{ExplainRequest{Source: "198.51.100.7:1", Destination: web, Protocol: "icmp"}, "want tcp or udp"},
		{ExplainRequest{Source: "198.51.100.7:1", Destination: web, Flags: "SX"}, "want letters of"},
		{ExplainRequest{Source: "198.51.100.7:1", Destination: web, Protocol: "udp", Flags: "S"}, "UDP has none"},
	} {
		if _, err := d.Explain(tt.req); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: %v, want %q", tt.req, err, tt.says)
		}
	}
}

func TestTCPFlags(t *testing.T) {
	for text, want := range map[string]uint8{
		"": frame.SYN, "s": frame.SYN, "A": frame.ACK, "FA": frame.FIN | frame.ACK, "R": frame.RST, "SA": frame.SYN | frame.ACK, "PU": 0x28,
	} {
		if got, err := tcpFlags(text); err != nil || got != want {
			t.Errorf("%q: %#x, %v, want %#x", text, got, err, want)
		}
	}
}

// TestExplainForetells: what Explain says is what the core then does, and asking
// changes nothing.
func TestExplainForetells(t *testing.T) {
	d := newDirector(t, farm)
	for i := range 40 {
		vip := []string{web, mail, "192.168.1.100:81"}[i%3]
		flags, letter := byte(frame.SYN), "S"
		if i%5 == 4 {
			flags, letter = frame.ACK, "A"
		}
		req := ExplainRequest{Source: client(i), Destination: vip, Protocol: "tcp", Flags: letter}
		e, err := d.Explain(req)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := d.Explain(req); again.Server != e.Server || !slices.Equal(again.Steps, e.Steps) {
			t.Fatalf("asked twice: %+v and %+v", e, again)
		}
		got := d.send(client(i), vip, flags)
		if want := map[string]byte{"eps1": 11, "eps2": 12, "eps3": 13, "": 0}[e.Server]; got != want {
			t.Errorf("%s %s: foretold %s, went to %d", vip, letter, e.Server, got)
		}
	}
}

func TestExplainDetails(t *testing.T) {
	d := newDirector(t, farm)
	if err := d.Do(ServerAction{Service: "web", Server: "eps1", Action: "drain"}); err != nil {
		t.Fatal(err)
	}
	req := ExplainRequest{Source: client(1), Destination: web, Protocol: "tcp"}
	e, err := d.Explain(req)
	if err != nil {
		t.Fatal(err)
	}
	if e.Verdict != "forward" || e.Reason != "scheduled" || e.Service != "web" || e.Server != "eps2" || e.Address != "192.168.2.12" ||
		e.MAC != "02:00:00:00:01:0c" || e.State != "" {
		t.Errorf("%+v", e)
	}
	if want := "eps1 gets no new connection (drain): drained by an operator: svm-fwd server ready web eps1"; !slices.Contains(e.Steps, want) {
		t.Errorf("no %q in %q", want, e.Steps)
	}
	d.connect(client(1), web)
	if e, err = d.Explain(ExplainRequest{Source: client(1), Destination: web, Flags: "A"}); err != nil || e.Reason != "known" || e.State != "ESTABLISHED" || e.Server != "eps2" {
		t.Errorf("of a connection: %+v, %v", e, err)
	}

	// A server that can't be found: its connections, and new ones.
	d.outside.mu.Lock()
	delete(d.macs, netip.MustParseAddr("192.168.2.12"))
	d.outside.mu.Unlock()
	d.mu2(d.refresh)
	if e, err = d.Explain(ExplainRequest{Source: client(1), Destination: web, Flags: "A"}); err != nil || e.Verdict != "drop" || e.Reason != "no-neighbour" || e.Server != "" || e.MAC != "" {
		t.Errorf("its server is lost: %+v, %v", e, err)
	}
	e, err = d.Explain(ExplainRequest{Source: client(2), Destination: web})
	if err != nil || e.Verdict != "drop" || e.Reason != "no-server" {
		t.Errorf("no server left: %+v, %v", e, err)
	}
	if text := strings.Join(e.Steps, "\n"); !strings.Contains(text, "eps2 gets no new connection (unresolved): no answer to ARP/NDP") {
		t.Errorf("steps %q", e.Steps)
	}
	if e, err = d.Explain(ExplainRequest{Source: client(2), Destination: "192.0.2.1:80"}); err != nil || e.Reason != "not-vip" || e.Service != "" {
		t.Errorf("%+v, %v", e, err)
	}
	if err := d.SetRole(false); err != nil {
		t.Fatal(err)
	}
	if e, err = d.Explain(req); err != nil || e.Reason != "standby" {
		t.Errorf("as a backup: %+v, %v", e, err)
	}
}
