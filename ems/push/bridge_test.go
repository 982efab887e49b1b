package push

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestBridge(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "receiver.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	said := make(chan string, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		command, rest, err := Handed(c)
		if err != nil {
			said <- err.Error()
			return
		}
		body, _ := io.ReadAll(rest)
		said <- command + "|" + string(body)
		_, _ = io.WriteString(c, "done")
	}()
	var out bytes.Buffer
	if err := Bridge(t.Context(), socket, "stage 7", strings.NewReader("one\ntwo"), &out); err != nil {
		t.Fatal(err)
	}
	if got := <-said; got != "stage 7|one\ntwo" || out.String() != "done" {
		t.Errorf("the receiver heard %q, the client %q", got, out.String())
	}
}

func TestBridgeRefuses(t *testing.T) {
	for _, command := range []string{"a\nb", "a\x00b", strings.Repeat("a", maxCommand)} {
		if err := Bridge(t.Context(), "/nowhere", command, nil, nil); err == nil || !strings.Contains(err.Error(), "no command") {
			t.Errorf("%.10q: %v", command, err)
		}
	}
	if err := Bridge(t.Context(), filepath.Join(t.TempDir(), "x"), "hello", nil, nil); err == nil || !strings.Contains(err.Error(), "svm-receiver.socket") {
		t.Errorf("no receiver: %v", err)
	}
	for _, in := range []string{"", "hello", strings.Repeat("a", maxCommand+1) + "\n"} {
		if _, _, err := Handed(strings.NewReader(in)); err == nil {
			t.Errorf("%.10q: accepted", in)
		}
	}
}
