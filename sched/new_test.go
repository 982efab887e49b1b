package sched

import (
	"slices"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	want := strings.Fields("dh fo lblc lblcr lc mh nq ovf rr sed sh twos wlc wrr")
	if got := Names(); !slices.Equal(got, want) {
		t.Errorf("Names() = %v", got)
	}
	for _, n := range want {
		if !Known(n) {
			t.Errorf("Known(%q) is false", n)
		}
		mustNew(t, Config{Name: n, Flags: Flags()}, farm(1, 2), nil)
	}
	for _, n := range []string{"", "RR", "round-robin"} {
		if Known(n) {
			t.Errorf("Known(%q) is true", n)
		}
	}
}

func TestNewErrors(t *testing.T) {
	twice := farm(1, 1)
	twice[1].ID = twice[0].ID
	for _, c := range []struct {
		name     string
		cfg      Config
		backends []Backend
		want     []string
	}{
		{"unknown name", Config{Name: "wlcc"}, nil, []string{`"wlcc"`, `did you mean "wlc"?`, "lblcr", "twos"}},
		{"capital letters", Config{Name: "RR"}, nil, []string{`did you mean "rr"?`}},
		{"empty name", Config{}, nil, []string{`no scheduler ""`, "wrr"}},
		{"unknown flag", Config{Name: "sh", Flags: []string{"sh-ports"}}, nil, []string{`"sh-ports"`, `did you mean "sh-port"?`, "mh-fallback"}},
		{"weight below 0", Config{Name: "rr"}, farm(1, -1), []string{"192.168.2.2", "-1", "0 to 65535"}},
		{"weight too large", Config{Name: "rr"}, farm(65536), []string{"65536", "0 to 65535"}},
		{"no Load", Config{Name: "lc"}, []Backend{{ID: "a", Weight: 1}}, []string{"backend a", "Load"}},
		{"twice", Config{Name: "lc"}, twice, []string{"192.168.2.1", "twice"}},
		{"table not prime", Config{Name: "mh", TableSize: 65536}, farm(1), []string{"65536", "prime", "65537"}},
		{"table negative", Config{Name: "mh", TableSize: -1}, farm(1), []string{"-1", "prime"}},
		{"table huge", Config{Name: "mh", TableSize: 1<<31 - 1}, farm(1), []string{"2147483647", "prime up to"}},
		{"table too small", Config{Name: "mh", TableSize: 3}, farm(1, 1, 1, 1), []string{"3", "4 backends"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := New(c.cfg, c.backends, nil)
			if err == nil || s != nil {
				t.Fatalf("New = %v, %v; want an error", s, err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"rr", "wrr", 1}, {"lblc", "lblcr", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
