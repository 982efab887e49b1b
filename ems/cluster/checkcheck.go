package cluster

import (
	"slices"
	"time"
)

// check fills in what depends on the service, and refuses keys that the type of
// the check would ignore.
func (k checks) check(s *Service, path string, none Check) {
	c := &s.Check
	path += ".check"
	if !k.fine(path, path+".type") {
		return
	}
	k.checkKeys(c, path)
	if c.Type == CheckNone {
		*c = none
		return
	}
	if c.Type == CheckExec && c.Command == nil && k.fine(path+".command") {
		k.report(path+".command", "is missing: an exec check needs a list like [/usr/lib/svm/check, argument]")
	}
	switch {
	case !k.fine(path+".timeout", path+".interval"):
	case c.Timeout == 0:
		c.Timeout = min(time.Second, c.Interval)
	case c.Timeout > c.Interval:
		k.report(path+".timeout", "want at most the interval, which is %s, got %s", tidy(c.Interval), tidy(c.Timeout))
	}
	k.checkPort(s, path)
}

// checkKeys knows which types use which keys.
func (k checks) checkKeys(c *Check, path string) {
	web := []CheckType{CheckHTTP, CheckHTTPS}
	raw := []CheckType{CheckTCP, CheckUDP}
	for _, key := range []struct {
		name string
		used []CheckType
	}{
		{"port", []CheckType{CheckTCP, CheckHTTP, CheckHTTPS, CheckUDP, CheckExec}},
		{"path", web}, {"host", web}, {"status", web},
		{"send", raw}, {"expect", raw},
		{"command", []CheckType{CheckExec}},
		{"verify_certificate", []CheckType{CheckHTTPS}},
	} {
		at := path + "." + key.name
		if !k.given(at) || c.Type == CheckNone || slices.Contains(key.used, c.Type) {
			continue
		}
		names := make([]string, len(key.used))
		for i, t := range key.used {
			names[i] = string(t)
		}
		k.report(at, "is for checks of type %s, this one is %s: leave it out", alternatives(names), c.Type)
	}
}

// checkPort takes the first port of the service where that can be meant.
func (k checks) checkPort(s *Service, path string) {
	c := &s.Check
	if c.Port != 0 || len(s.Ports) == 0 || !k.fine(path+".port") {
		return
	}
	probe := TCP
	if c.Type == CheckUDP {
		probe = UDP
	}
	switch {
	case c.Type == CheckPing || c.Type == CheckExec:
		if !s.Ports.Any() {
			c.Port = s.Ports[0].First
		}
	case s.Ports.Any():
		k.report(path+".port", "is missing: the service takes any port, say which one the %s check asks", c.Type)
	case s.Protocol != probe && k.fine(path[:len(path)-len(".check")]+".protocol"):
		k.report(path+".port", "is missing: the service is %s, say which port the %s check asks", s.Protocol, c.Type)
	default:
		c.Port = s.Ports[0].First
	}
}
