package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder"
	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/svm-cluster/svm/forwarder/guard"
	"github.com/svm-cluster/svm/forwarder/health"
	"github.com/svm-cluster/svm/forwarder/neigh"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "forward: the director daemon",
		Description: "Runs in the foreground. SIGHUP reads the cluster file again, SIGTERM and SIGINT stop it\n" +
			"and undo everything that it set on the host.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "cluster `FILE`", Required: true},
			nodeFlag(),
			&cli.StringFlag{Name: "socket", Usage: "`PATH` of the runtime API's Unix socket", Value: defaultSocket},
			&cli.StringFlag{Name: "metrics", Usage: "serve Prometheus metrics on `ADDRESS:PORT` (default: not at all)"},
			&cli.StringFlag{Name: "role", Usage: "`ROLE`: elect (a pair elects it, one director alone is active), or active or backup for good", Value: "elect"},
			&cli.StringFlag{Name: "log-level", Usage: "`LEVEL`: debug, info, warn or error", Value: "info"},
		},
		Action: func(c *cli.Context) error {
			var level slog.Level
			if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
				return fmt.Errorf("--log-level: %w", err)
			}
			role := c.String("role")
			if role != "elect" && role != "active" && role != "backup" {
				return fmt.Errorf("--role: want elect, active or backup, got %q", role)
			}
			node, err := nodeName(c)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return run(ctx, options{
				config: c.String("config"), node: node, socket: c.String("socket"), metrics: c.String("metrics"),
				role: role,
				log:  slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
			})
		},
	}
}

type options struct {
	config, node, socket, metrics string
	role                          string
	log                           *slog.Logger
}

// run wires a director together and runs it until ctx ends.
func run(ctx context.Context, o options) (err error) {
	// To the very end: a SIGHUP that meets the default ends the process on the spot,
	// with all that it set on the host still there.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	conf, err := cluster.Load(o.config)
	if err != nil {
		return err
	}
	me := conf.Director(o.node)
	if me == nil {
		var names []string
		for _, d := range conf.Directors {
			names = append(names, d.Name)
		}
		return fmt.Errorf("%s has no director %q: give --node, one of %s", o.config, o.node, strings.Join(names, ", "))
	}
	client, err := device(&me.Client)
	if err != nil {
		return fmt.Errorf("directors[%s].client: %w", o.node, err)
	}
	server, err := device(&me.Server)
	if err != nil {
		return fmt.Errorf("directors[%s].server: %w", o.node, err)
	}
	secret, err := pairKey(conf)
	if err != nil {
		return err
	}
	table, origin, registry, err := openTable(&conf.Forwarding, o.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, table.Close(false)) }()
	// Before anything on the host is touched: another svm-fwd may be at work, and
	// what one undoes the other needs.
	socket, err := control.Listen(ctx, o.socket)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, socket.Close()) }()

	neighbours, err := neigh.New(neigh.Config{Client: client, Server: server, Log: o.log.With("part", "neigh"), Announce: conf.HA.Announce})
	if err != nil {
		return err
	}
	monitor := health.New(health.Config{Log: o.log.With("part", "health")})
	guarded, err := guard.New(guard.Config{Log: o.log.With("part", "guard")})
	if err != nil {
		return err
	}

	now := clock()
	snapshot := new(atomic.Pointer[forwarder.Snapshot])
	elected := o.role == "elect" && len(conf.Directors) > 1
	io, err := openQueues(me, workerCount(conf), table, snapshot, now, elected && secret != nil, o.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, io.close()) }()
	mac := client.MAC
	if conf.HA.MAC == cluster.VirtualMAC {
		mac = [6]byte{0, 0, 0x5e, 0, 1, conf.HA.VRID}
		if err := io.addMAC(mac); err != nil {
			return err
		}
	}

	settings := control.Config{
		Node: o.node, Version: version(), Log: o.log,
		Load:  func() (*cluster.Cluster, error) { return cluster.Load(o.config) },
		Table: table, Origin: origin, Registry: registry, Snapshot: snapshot, Workers: io.views, Now: now,
		Neighbours: neighbours, Health: monitor, Guard: guarded, Filter: io,
		ClientMAC: mac, ServerMAC: server.MAC, ServerIndex: server.Index,
		HashKey: hashKey(conf, secret), Mark: guarded.Mark, Active: o.role == "active" || o.role == "elect" && !elected,
	}
	var other *pair
	if elected {
		if other, err = newPair(conf, me, secret, neighbours, o.log.With("part", "ha")); err != nil {
			return err
		}
		if secret != nil {
			settings.Learn = learnWithin
		}
		settings.Pair, settings.OnLive, settings.OnVIPs, settings.OnForeign = other, other.onLive, other.onVIPs, other.onForeign
	}
	director, err := control.New(settings)
	if err != nil {
		return err
	}

	// Everything goes on until the role was given away.
	asked := ctx
	ctx, stop := context.WithCancel(context.WithoutCancel(asked))
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	if other == nil {
		context.AfterFunc(asked, stop)
	} else {
		if err := other.attach(director, table, io.feeds, now); err != nil {
			return err
		}
		g.Go(func() error {
			defer stop()
			ctx, leave := context.WithCancel(ctx)
			defer leave()
			context.AfterFunc(asked, leave)
			return other.run(ctx)
		})
		g.Go(func() error { return other.watch(ctx) })
		if other.sync != nil {
			g.Go(func() error { return other.sync.Run(ctx) })
		}
	}
	g.Go(func() error { return director.Run(ctx) })
	g.Go(func() error { return neighbours.Run(ctx) })
	g.Go(func() error { return monitor.Run(ctx) })
	for _, w := range io.workers {
		g.Go(func() error { return w.Run(ctx) })
	}
	g.Go(func() error { return socket.Serve(ctx, director.Handler(), o.log) })
	if o.metrics != "" {
		g.Go(func() error { return serveMetrics(ctx, o.metrics, director.MetricsHandler()) })
	}
	g.Go(func() error { return reloadOnHangup(ctx, hup, director) })
	o.log.Info("forwarding", "node", o.node, "cluster", conf.Name, "role", o.role, "workers", len(io.workers),
		"connections", table.Cap(), "recovered", origin.Recovered)
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // no systemd: nothing to tell
	return g.Wait()
}

func reloadOnHangup(ctx context.Context, hup <-chan os.Signal, d *control.Control) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			_, _ = daemon.SdNotify(false, daemon.SdNotifyReloading)
			_, _ = d.Reload() // the log says what came of it
			_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
		}
	}
}

func serveMetrics(ctx context.Context, address string, h http.Handler) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", h)
	s := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
