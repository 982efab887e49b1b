package cluster

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAllAtOnce has a problem of every sort in one file: an unknown key, a key
// given twice, a type, a range, an enum, a missing key, and meanings.
func TestAllAtOnce(t *testing.T) {
	const file = `cluster: shop
topologie: two-router
ha: {vrid: 256, interval: 100ms, interval: 200ms}
directors:
  - {name: eds1, client: {device: eth0, address: 10.0.1.2}, server: {device: eth1}}
realservers:
  - {name: eps1, address: 10.0.2.11}
  - {name: eps2, address: 10.0.2.11}
services:
  - name: web
    vip: 10.0.1.2
    ports: 80
    scheduler: wlcc
    servers:
      - {name: eps1, weight: heavy}
      - {name: eps3}
  - name: web
    vip: 10.0.1.100
    ports: [80, 0]
    servers: [{name: eps1}, {name: eps1}]
`
	const want = `f.yaml:2:1: topologie: unknown key, did you mean "topology"?
f.yaml:3:12: ha.vrid: want an integer from 1 to 255, got 256
f.yaml:3:34: ha.interval: given twice, first on line 3: leave one out
f.yaml:5:69: directors[0].server.address: is missing: want an IPv4 or IPv6 address
f.yaml:8:27: realservers[1].address: 10.0.2.11 is the address of real server "eps1" (line 7) already
f.yaml:11:10: services[0].vip: 10.0.1.2 is the client address of director "eds1" (line 5) already: a VIP is an address of its own
f.yaml:13:16: services[0].scheduler: want rr, wrr, lc, wlc, lblc, lblcr, sh, dh, sed, nq, fo, ovf, mh or twos, got "wlcc", did you mean "wlc"?
f.yaml:15:30: services[0].servers[0].weight: want an integer from 0 to 65535, got "heavy"
f.yaml:16:16: services[0].servers[1].name: no real server is named "eps3", did you mean "eps1"?
f.yaml:17:11: services[1].name: "web" is the name of services[0] (line 10) already: give each a name of its own
f.yaml:19:17: services[1].ports[1]: want a port from 1 to 65535, a range like 8000-8999, a list of these, or any, got 0
f.yaml:20:36: services[1].servers[1].name: "eps1" is in this list already, as servers[0] (line 20): leave one out`
	_, err := Parse("f.yaml", []byte(file))
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	var one Problem
	if !errors.As(err, &one) || one.Line != 2 || one.Column != 1 || one.Path != "topologie" || one.File != "f.yaml" {
		t.Errorf("the first problem is %+v", one)
	}
}

// TestFloods are files made to cost more than they should. They are refused,
// with a report of bounded length.
func TestFloods(t *testing.T) {
	billion := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'z'; c++ {
		p := string(c - 1)
		billion += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+p+", ", 8) + "*" + p + "]\n"
	}
	for name, file := range map[string]string{
		"aliases of aliases": billion + "services: *y\n",
		"unknown keys":       "{" + numbered("k", 20_000) + "}",
		"bad servers":        "services: [{servers: [" + strings.Repeat("{name: epsx},", 10_000) + "]}]",
		"bad names":          "realservers: [" + numbered("{address: 10.0.0.1, name: x", 5_000, "}") + "]\nservices: [{name: a, vip: 10.1.0.1, ports: 1, servers: [" + numbered("{name: y", 5_000, "}") + "]}]",
		"directors":          "directors: [" + strings.Repeat("{name: a, client: {device: a, address: 10.0.0.1}, server: {device: a, address: 10.0.0.1}},", 5_000) + "]",
		"one port":           "services: [" + numbered("{vip: 10.0.0.1, ports: any, servers: [], name: s", 5_000, "}") + "]",
		"commas":             "[" + strings.Repeat(",", 1<<20) + "]",
		"long words":         "cluster: " + strings.Repeat("x", 1<<20) + "\n" + strings.Repeat("y", 1<<10) + ": 1",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f", []byte(file))
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatal("accepted")
			}
			if n := len(err.Error()); len(problems) > maxProblems+1 || n > 500_000 {
				t.Errorf("%d problems in %d bytes", len(problems), n)
			}
			if last := problems[len(problems)-1]; len(problems) > maxProblems && !strings.HasSuffix(last.Text, "more problems, not shown") {
				t.Errorf("what was left out is not counted: %v", last)
			}
		})
	}
}

func numbered(s string, n int, end ...string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(s)
		for d := i + 1; d > 0; d /= 26 {
			b.WriteByte(byte('a' + d%26))
		}
		b.WriteString(strings.Join(end, "") + ", ")
	}
	return b.String()
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cluster.yaml")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(base)
	if c, err := Load(path); err != nil || c.Name != "shop" {
		t.Errorf("got %+v, %v", c, err)
	}
	write(edited(t, "ports: 80", "ports: 0"))
	if _, err := Load(path); err == nil || !strings.HasPrefix(err.Error(), path+":10:12: services[0].ports: want ") {
		t.Errorf("a bad file: %v", err)
	}
	write(base + "#" + strings.Repeat("x", MaxSize-len(base)-1))
	if _, err := Load(path); err != nil {
		t.Errorf("a file of 4 MiB: %v", err)
	}
	write(base + "#" + strings.Repeat("x", MaxSize-len(base)))
	if _, err := Load(path); err == nil || err.Error() != path+": "+tooLarge {
		t.Errorf("a file of 4 MiB and a byte: %v", err)
	}
	if _, err := Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a directory: %v", err)
	}
}

func TestNearest(t *testing.T) {
	words := []string{"weight", "name", "syn_received", "key_file", "wlc", "rr"}
	for word, want := range map[string]string{
		"wieght": "weight", "Weight": "weight", "weights": "weight", "nam": "name", "keyfile": "key_file",
		"syn-recieved": "syn_received", "wlcc": "wlc", "wcl": "wlc", "r": "rr", "xx": "", "": "", "colour": "", "height": "weight",
		strings.Repeat("x", 100): "",
	} {
		if got := nearest(word, words); got != want {
			t.Errorf("nearest(%q) is %q, want %q", word, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "abd", 1}, {"abcd", "bc", 2}, {"ca", "abc", 3}} {
		if got := edits(c.a, c.b); got != c.want {
			t.Errorf("edits(%q, %q) is %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
