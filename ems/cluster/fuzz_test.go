package cluster

import (
	"errors"
	"os"
	"slices"
	"testing"
)

// FuzzParse: whatever the file, Parse returns. What it refuses has problems in
// order; what it accepts is sound, has a digest, and can be written and read
// again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(base))
	for _, c := range allBad(f) {
		if len(c.file) < 10_000 {
			f.Add([]byte(c.file))
		}
	}
	data, err := os.ReadFile(referenceFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if err == nil {
			sound(t, c)
			roundTrip(t, c)
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 || c != nil {
			t.Fatalf("got %v, %v", c, err)
		}
		for i, p := range problems {
			if p.File != "f" || p.Text == "" || i > 0 && p.Line > 0 && p.Line < problems[i-1].Line {
				t.Errorf("problem %d of\n%v", i, err)
			}
		}
	})
}

// sound says again, in the plainest way, what a valid cluster is.
func sound(t *testing.T, c *Cluster) {
	t.Helper()
	want := func(ok bool, what string) {
		if !ok {
			t.Errorf("%s is not sound: %+v", what, c)
		}
	}
	want(isLabel(c.Name) && len(c.Directors) >= 1 && len(c.Directors) <= 2, "the cluster")
	want(c.HA.VRID > 0 && c.HA.Interval > 0 && c.Forwarding.Connections >= 1024, "a setting")
	for _, d := range c.Directors {
		want(d.Client.Address.IsValid() && d.Server.Address.IsValid() && d.Client.Device != "", "a director")
		want(!slices.Contains(c.VIPs(), d.Client.Address) && !slices.Contains(c.VIPs(), d.Server.Address), "a VIP")
	}
	for i, s := range c.Services {
		want(s.VIP.IsValid() && !s.VIP.IsMulticast() && len(s.Ports) > 0, "a service")
		last := 0
		for _, r := range s.Ports {
			want(int(r.First) > last && r.Last >= r.First, "a port")
			last = int(r.Last)
			for _, o := range c.Services[:i] {
				want(o.VIP != s.VIP || o.Protocol != s.Protocol || !o.Ports.Contains(r.First), "a claim")
			}
		}
		want(s.Check.Timeout <= s.Check.Interval && s.Check.Timeout > 0, "a check")
		want(!s.OnePacket || s.Protocol == UDP && s.Persistence.Timeout == 0, "one_packet")
		for _, b := range s.Servers {
			want(c.RealServer(b.Name) != nil && b.Weight >= 0 && b.Weight <= 65535 && b.Lower <= b.Upper, "a server")
		}
	}
}
