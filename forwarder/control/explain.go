package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/svm-cluster/svm/forwarder"
	"github.com/svm-cluster/svm/forwarder/frame"
)

// Explain says which server a packet would get, and why: first what the packet
// core would do, then which servers it can't choose and what keeps them out.
// Nothing changes, neither the table nor a scheduler's cursor.
func (c *Control) Explain(req ExplainRequest) (Explanation, error) {
	k, flags, err := req.key()
	if err != nil {
		return Explanation{}, err
	}
	c.mu.Lock() // the Snapshot and the servers' states belong together
	defer c.mu.Unlock()
	e := forwarder.Explain(c.cfg.Table, c.cfg.Snapshot.Load(), k, flags, c.cfg.Now())
	out := Explanation{
		Verdict: e.Verdict.String(), Reason: e.Reason.String(), Service: e.Service, Server: e.Backend, State: e.State,
	}
	// The last step is the result.
	out.Steps = slices.Insert(e.Steps, max(0, len(e.Steps)-1), c.keptOut(e.Service)...)
	for i := range c.cluster.Services {
		if c.cluster.Services[i].Name != e.Service || e.Backend == "" {
			continue
		}
		for _, st := range c.servers[i] {
			if st.conf.Name == e.Backend {
				out.Address = st.addr.String()
				if st.resolved {
					out.MAC = macText(st.mac)
				}
			}
		}
	}
	return out, nil
}

// keptOut says of each server of a service that gets no new connection why.
func (c *Control) keptOut(service string) (steps []string) {
	checks := map[string]string{}
	for _, h := range c.cfg.Health.Status() {
		checks[h.Key] = h.LastResult
	}
	for i := range c.cluster.Services {
		conf := &c.cluster.Services[i]
		if conf.Name != service {
			continue
		}
		for j := range c.servers[i] {
			st := &c.servers[i][j]
			if state, why := c.judge(conf, st, checks[targetKey(conf, st.conf.Name)]); state != "ready" {
				steps = append(steps, fmt.Sprintf("%s gets no new connection (%s): %s", st.conf.Name, state, why))
			}
		}
	}
	return steps
}

// key turns a request into what the packet core goes by.
func (r *ExplainRequest) key() (k frame.Key, flags uint8, err error) {
	src, err := endpoint("src", r.Source)
	if err != nil {
		return k, 0, err
	}
	dst, err := endpoint("dst", r.Destination)
	if err != nil {
		return k, 0, err
	}
	if src.Addr().Is4() != dst.Addr().Is4() {
		return k, 0, invalid("src %s and dst %s are not of one family", r.Source, r.Destination)
	}
	var proto uint8
	switch strings.ToLower(r.Protocol) {
	case "tcp", "":
		proto = frame.ProtoTCP
	case "udp":
		proto = frame.ProtoUDP
		if r.Flags != "" {
			return k, 0, invalid("flags %s: UDP has none", r.Flags)
		}
	default:
		return k, 0, invalid("proto %q: want tcp or udp", r.Protocol)
	}
	if proto == frame.ProtoTCP {
		if flags, err = tcpFlags(r.Flags); err != nil {
			return k, 0, err
		}
	}
	return frame.MakeKey(src, dst, proto), flags, nil
}

func endpoint(name, text string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(text)
	if err != nil || a.Addr().Zone() != "" {
		return a, invalid("%s %q: want ADDRESS:PORT, with IPv6 as [ADDRESS]:PORT", name, text)
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// tcpFlags reads flags by their first letters; none means a SYN.
func tcpFlags(text string) (flags uint8, err error) {
	if text == "" {
		return frame.SYN, nil
	}
	for _, c := range strings.ToUpper(text) {
		i := strings.IndexRune("FSRPAU", c) // in the order of their bits (RFC 9293 section 3.1)
		if i < 0 {
			return 0, invalid("flags %q: want letters of F, S, R, P, A and U", text)
		}
		flags |= 1 << i
	}
	return flags, nil
}
