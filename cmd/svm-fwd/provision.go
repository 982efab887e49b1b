package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/enroll"
	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/provision"
	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
)

func provisionCommand() *cli.Command {
	return asks(&cli.Command{
		Name: "provision", Usage: "give real servers their configuration, and their addresses while this director is active",
		Description: "Serves HTTP on this director's address in the server network (delivery.config_port)\n" +
			"and, while it is the active one, DHCP there (delivery.dhcp) for the real servers of\n" +
			"the cluster file alone. Takes from the other director what this one missed of a\n" +
			"push. Needs CAP_NET_BIND_SERVICE and CAP_NET_RAW.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Value: "/etc/svm/cluster.yaml", Usage: "cluster `FILE` of this director"},
			nodeFlag(), storeFlag(),
			&cli.StringSliceFlag{Name: "peer", Usage: "`ADDRESS` or ADDRESS:PORT of the other director, for one that has no cluster file yet; may be repeated"},
			&cli.DurationFlag{Name: "every", Value: 10 * time.Second, Usage: "`TIME` between two questions to the other director, such as 10s"},
		},
		Action: provide,
	})
}

func provide(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	if c.Duration("every") < 100*time.Millisecond {
		return fmt.Errorf("--every %v: want at least 100ms", c.Duration("every"))
	}
	var given []netip.AddrPort
	for _, text := range c.StringSlice("peer") {
		at, err := peerAddress(text)
		if err != nil {
			return err
		}
		given = append(given, at)
	}
	name, err := nodeName(c)
	if err != nil {
		return err
	}
	pin, err := enroll.Pinned("/", "svm-fwd")
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(c.App.ErrWriter, nil))
	store, err := machine.OpenSystem(c.String("store"), "svm-provision.service", log)
	if err != nil {
		return err
	}
	file := provision.NewClusterFile(c.String("config"), log)
	role := &role{client: client(c)}
	server := provision.NewServer(provision.Config{
		Node: name, Store: store, Pin: pin, Cluster: file.Cluster, Active: role.active.Load, Version: version(), Log: log,
	})
	catchUp := provision.NewCatchUp(provision.CatchUpConfig{
		Node: name, Store: store, Pin: pin, Every: c.Duration("every"), Log: log,
		Identity: func() ([]byte, error) { return os.ReadFile(enroll.IdentityFile) },
		Peers:    func() []netip.AddrPort { return append(peers(file.Cluster(), name), given...) },
	})
	group, ctx := errgroup.WithContext(c.Context)
	group.Go(func() error { return role.follow(ctx) })
	group.Go(func() error { return server.Run(ctx) })
	group.Go(func() error { return catchUp.Run(ctx) })
	return group.Wait()
}

// peerAddress takes an address with or without a port.
func peerAddress(text string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a, cluster.Default().Delivery.ConfigPort), nil
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return at, fmt.Errorf("--peer %q: want an address like 192.168.2.3, or 192.168.2.3:8485", text)
	}
	return at, nil
}

// peers are the other directors' addresses on the server network.
func peers(c *cluster.Cluster, node string) (all []netip.AddrPort) {
	if c == nil {
		return nil
	}
	for i := range c.Directors {
		d := &c.Directors[i]
		for _, a := range []netip.Addr{d.Server.Address, d.Server.Address6} {
			if d.Name != node && a.IsValid() {
				all = append(all, netip.AddrPortFrom(a, c.Delivery.ConfigPort))
			}
		}
	}
	return all
}

// role is the daemon's. While it doesn't answer this director isn't active.
type role struct {
	client *control.Client
	active atomic.Bool
}

func (r *role) follow(ctx context.Context) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		ask, cancel := context.WithTimeout(ctx, 2*time.Second)
		s, err := r.client.Status(ask)
		cancel()
		r.active.Store(err == nil && s.Role == "active")
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
