package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/provision"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/render"
	"github.com/svm-cluster/svm/forwarder/control"
)

// healthWithin bounds how long the daemon is asked.
const healthWithin = 5 * time.Second

// conflictFor is how long another host's answer for a VIP counts: longer than the time
// between two of them where it goes on, and soon over where a role was changing.
const conflictFor = 10 * time.Second

// daemonHealth tells the station how this director does: the daemon at the socket, and
// svm-fwd provision.
func daemonHealth(socket, node string) func(context.Context) *push.Health {
	return func(ctx context.Context) *push.Health {
		ctx, cancel := context.WithTimeout(ctx, healthWithin)
		defer cancel()
		s, err := control.NewClient(socket).Status(ctx)
		if err != nil {
			return &push.Health{Problems: []string{"svm-fwd gives no answer: " + err.Error()}}
		}
		h := summary(&s, time.Now())
		h.Problems = append(h.Problems, provisionProblems(ctx, node)...)
		return h
	}
}

// provisionProblems are what svm-fwd provision of this director complains of, such as
// two machines with one address.
func provisionProblems(ctx context.Context, node string) []string {
	c, err := cluster.Load(render.ClusterFile)
	if err != nil {
		return nil // the daemon says so
	}
	d := c.Director(node)
	if d == nil {
		return nil
	}
	s, err := provision.AskStatus(ctx, netip.AddrPortFrom(d.Server.Address, c.Delivery.ConfigPort))
	if err != nil {
		return []string{"svm-fwd provision gives no answer: " + err.Error()}
	}
	return s.Problems
}

// summary is what of a director's status the station looks at.
func summary(s *control.Status, now time.Time) *push.Health {
	h := &push.Health{Role: s.Role, Digest: s.Digest}
	if s.Rejected != "" {
		h.Problems = append(h.Problems, "the cluster file is refused: "+s.Rejected)
	}
	for _, c := range s.Conflicts {
		if now.Sub(c.Last) > conflictFor {
			continue
		}
		h.Problems = append(h.Problems, fmt.Sprintf("%s at %s answers for the VIP %s", c.MAC, c.Device, c.VIP))
	}
	for _, v := range s.Services {
		svc := push.Service{Name: v.Name}
		for _, b := range v.Servers {
			svc.Backends = append(svc.Backends, push.Backend{
				Name: b.Name, Weight: b.Weight, Up: b.State == "ready", Reason: b.Why, Connections: int(b.Active + b.Inactive),
			})
		}
		h.Services = append(h.Services, svc)
	}
	return h
}
