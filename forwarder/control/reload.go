package control

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
)

// Reload reads the cluster file again. A file that can't be used leaves everything
// as it is; one that means the same changes nothing.
func (c *Control) Reload() (ReloadReport, error) {
	c.loading.Lock() // a file that was read earlier must not come into force later
	defer c.loading.Unlock()
	conf, err := c.cfg.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && conf.Digest() == c.cluster.Digest() {
		c.rejected = ""
		return ReloadReport{}, nil
	}
	var report ReloadReport
	if err == nil {
		report = compare(c.cluster, conf)
		err = c.change(conf, c.active)
	}
	if err != nil {
		c.rejected = err.Error()
		c.cfg.Log.Error("the cluster file is refused, the old one stays in force", "err", err)
		return ReloadReport{}, err
	}
	c.rejected = ""
	c.configured = time.Now()
	for key := range c.overrides {
		if s := conf.Service(key[0]); s == nil || !slices.ContainsFunc(s.Servers, func(v cluster.Server) bool { return v.Name == key[1] }) {
			delete(c.overrides, key)
		}
	}
	c.cfg.Log.Info("cluster file taken over", "changes", len(report.Changes), "digest", conf.Digest()[:12])
	for _, line := range report.Changes {
		c.cfg.Log.Info(line)
	}
	for _, field := range report.Restart {
		c.cfg.Log.Warn("takes effect at the next start only", "field", field)
	}
	return report, nil
}

// compare says in words how two cluster files differ.
func compare(was, is *cluster.Cluster) ReloadReport {
	r := ReloadReport{Changed: true}
	say := func(format string, args ...any) { r.Changes = append(r.Changes, fmt.Sprintf(format, args...)) }
	for _, s := range was.Services {
		if is.Service(s.Name) == nil {
			say("service %s removed", s.Name)
		}
	}
	for i := range is.Services {
		s := &is.Services[i]
		old := was.Service(s.Name)
		if old == nil {
			say("service %s added: %s %s %s, %d servers", s.Name, s.Protocol, s.VIP, portText(s.Ports), len(s.Servers))
			continue
		}
		compareServers(say, old, s)
		a, b := *old, *s
		a.Servers, b.Servers = nil, nil
		if fields := differing(a, b); len(fields) > 0 {
			say("service %s: %s changed", s.Name, strings.Join(fields, ", "))
		}
	}
	for _, rs := range is.RealServers {
		if old := was.RealServer(rs.Name); old != nil && old.Address != rs.Address {
			say("real server %s moved from %s to %s", rs.Name, old.Address, rs.Address)
		}
	}
	a, b := was.Forwarding, is.Forwarding
	if a.Timeouts != b.Timeouts {
		say("forwarding.timeouts changed")
	}
	for _, f := range differing(a, b) {
		if f != "timeouts" {
			r.Restart = append(r.Restart, "forwarding."+f)
		}
	}
	if was.Name != is.Name {
		r.Restart = append(r.Restart, "cluster") // it keys the hashes
	}
	for _, list := range [][]cluster.Director{was.Directors, is.Directors} {
		for i := range list {
			name := list[i].Name
			field := "directors[" + name + "]"
			d, e := was.Director(name), is.Director(name)
			if (d == nil || e == nil || !reflect.DeepEqual(*d, *e)) && !slices.Contains(r.Restart, field) {
				r.Restart = append(r.Restart, field)
			}
		}
	}
	for _, f := range differing(was.HA, is.HA) {
		r.Restart = append(r.Restart, "ha."+f)
	}
	return r
}

func compareServers(say func(string, ...any), was, is *cluster.Service) {
	find := func(s *cluster.Service, name string) *cluster.Server {
		for i := range s.Servers {
			if s.Servers[i].Name == name {
				return &s.Servers[i]
			}
		}
		return nil
	}
	for _, v := range was.Servers {
		if find(is, v.Name) == nil {
			say("service %s: server %s removed", is.Name, v.Name)
		}
	}
	for _, v := range is.Servers {
		switch old := find(was, v.Name); {
		case old == nil:
			say("service %s: server %s added with weight %d", is.Name, v.Name, v.Weight)
		case old.Weight != v.Weight:
			say("service %s: server %s has weight %d, was %d", is.Name, v.Name, v.Weight, old.Weight)
		case *old != v:
			say("service %s: server %s has thresholds %d and %d", is.Name, v.Name, v.Upper, v.Lower)
		}
	}
}

// differing names the fields, in the file's spelling, in which two structs differ.
func differing(a, b any) (fields []string) {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		if !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			fields = append(fields, snake(x.Type().Field(i).Name))
		}
	}
	return fields
}

// snake turns HalfOpen into half_open.
func snake(s string) string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 && 'A' <= r && r <= 'Z' && 'a' <= s[i-1] && s[i-1] <= 'z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

// portText writes ports as the cluster file has them.
func portText(ports cluster.Ports) string {
	if ports.Any() {
		return "any"
	}
	var parts []string
	for _, r := range ports {
		if r.First == r.Last {
			parts = append(parts, fmt.Sprint(r.First))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", r.First, r.Last))
		}
	}
	return strings.Join(parts, ",")
}
