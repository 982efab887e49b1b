package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
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
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/guard"
	"github.com/svm-cluster/svm/forwarder/health"
	"github.com/svm-cluster/svm/forwarder/neigh"
	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "forward: the director daemon",
		Description: "Runs in the foreground. SIGHUP reads the cluster file again, SIGTERM and SIGINT stop it\n" +
			"and undo everything that it set on the host.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "cluster `FILE`", Required: true},
			&cli.StringFlag{Name: "node", Usage: "`NAME` of this director in the cluster file (default: the host name)"},
			&cli.StringFlag{Name: "socket", Usage: "`PATH` of the runtime API's Unix socket", Value: defaultSocket},
			&cli.StringFlag{Name: "metrics", Usage: "serve Prometheus metrics on `ADDRESS:PORT` (default: not at all)"},
			&cli.StringFlag{Name: "role", Usage: "`ROLE` to take: active or backup (until the pair elects it)", Value: "active"},
			&cli.StringFlag{Name: "log-level", Usage: "`LEVEL`: debug, info, warn or error", Value: "info"},
		},
		Action: func(c *cli.Context) error {
			var level slog.Level
			if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
				return fmt.Errorf("--log-level: %w", err)
			}
			role := c.String("role")
			if role != "active" && role != "backup" {
				return fmt.Errorf("--role: want active or backup, got %q", role)
			}
			node := c.String("node")
			if node == "" {
				name, err := os.Hostname()
				if err != nil {
					return fmt.Errorf("host name: %w (give --node)", err)
				}
				node, _, _ = strings.Cut(name, ".")
			}
			ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return run(ctx, options{
				config: c.String("config"), node: node, socket: c.String("socket"), metrics: c.String("metrics"),
				active: role == "active",
				log:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
			})
		},
	}
}

type options struct {
	config, node, socket, metrics string
	active                        bool
	log                           *slog.Logger
}

// run wires a director together and runs it until ctx ends.
func run(ctx context.Context, o options) (err error) {
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
	key, err := hashKey(conf)
	if err != nil {
		return err
	}
	table, origin, registry, err := openTable(&conf.Forwarding, o.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, table.Close(false)) }()

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
	io, err := openQueues(me, workerCount(conf), table, snapshot, now, o.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, io.close()) }()

	director, err := control.New(control.Config{
		Node: o.node, Version: version(), Log: o.log,
		Load:  func() (*cluster.Cluster, error) { return cluster.Load(o.config) },
		Table: table, Origin: origin, Registry: registry, Snapshot: snapshot, Workers: io.views, Now: now,
		Neighbours: neighbours, Health: monitor, Guard: guarded, Filter: io,
		ClientMAC: client.MAC, ServerMAC: server.MAC, ServerIndex: server.Index,
		HashKey: key, Mark: guarded.Mark, Active: o.active,
	})
	if err != nil {
		return err
	}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return director.Run(ctx) })
	g.Go(func() error { return neighbours.Run(ctx) })
	g.Go(func() error { return monitor.Run(ctx) })
	for _, w := range io.workers {
		g.Go(func() error { return w.Run(ctx) })
	}
	g.Go(func() error { return control.Serve(ctx, o.socket, director.Handler(), o.log) })
	if o.metrics != "" {
		g.Go(func() error { return serveMetrics(ctx, o.metrics, director.MetricsHandler()) })
	}
	g.Go(func() error { return reloadOnHangup(ctx, director) })
	o.log.Info("forwarding", "node", o.node, "cluster", conf.Name, "role", role(o.active), "workers", len(io.workers),
		"connections", table.Cap(), "recovered", origin.Recovered)
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // no systemd: nothing to tell
	return g.Wait()
}

func role(active bool) string {
	if active {
		return "active"
	}
	return "backup"
}

// device finds a director's network device.
func device(i *cluster.Interface) (neigh.Interface, error) {
	ifi, err := net.InterfaceByName(i.Device)
	if err != nil {
		return neigh.Interface{}, fmt.Errorf("device %q: %w (see: ip link)", i.Device, err)
	}
	d := neigh.Interface{Device: ifi.Name, Index: ifi.Index}
	copy(d.MAC[:], ifi.HardwareAddr)
	for _, v6 := range []bool{false, true} {
		if a := i.Addr(v6); a.IsValid() {
			d.Addrs = append(d.Addrs, a)
		}
	}
	return d, nil
}

// hashKey keys the hashes that both directors must agree on: with the pair's
// secret if there is one, so that nobody outside can aim at a server.
func hashKey(conf *cluster.Cluster) (key [16]byte, err error) {
	h := sha256.New()
	fmt.Fprintf(h, "svm schedulers %s\n", conf.Name)
	if f := conf.HA.KeyFile; f != "" {
		secret, err := os.ReadFile(f)
		if err != nil {
			return key, fmt.Errorf("ha.key_file: %w", err)
		}
		h.Write(secret)
	}
	copy(key[:], h.Sum(nil))
	return key, nil
}

// openTable makes the connection table, in its state file if that can be had.
func openTable(f *cluster.Forwarding, log *slog.Logger) (*flow.Table, flow.Origin, string, error) {
	cfg := flow.Config{Capacity: f.Connections, HalfOpen: f.HalfOpen}
	if f.StateFile != "none" {
		cfg.Path = f.StateFile
		boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err == nil {
			err = os.MkdirAll(filepath.Dir(cfg.Path), 0o755)
		}
		if err != nil {
			log.Warn("connections will not outlive a crash", "state_file", cfg.Path, "err", err)
			cfg.Path = ""
		}
		cfg.BootID = strings.TrimSpace(string(boot))
	}
	table, origin, err := flow.New(cfg)
	if err != nil && cfg.Path != "" && !errors.Is(err, flow.ErrInUse) {
		log.Warn("connections will not outlive a crash", "state_file", cfg.Path, "err", err)
		cfg.Path = ""
		table, origin, err = flow.New(cfg)
	}
	if origin.Discarded != "" {
		log.Warn("the connections of an earlier process are not taken over", "state_file", cfg.Path, "why", origin.Discarded)
	}
	registry := ""
	if cfg.Path != "" {
		registry = cfg.Path + control.RegistrySuffix
	}
	return table, origin, registry, err
}

// clock returns the table's time: milliseconds since the machine started, the
// same for a process that takes a table over.
func clock() func() flow.Tick {
	base := time.Duration(0)
	if raw, err := os.ReadFile("/proc/uptime"); err == nil {
		first, _, _ := strings.Cut(string(raw), " ")
		if up, err := strconv.ParseFloat(first, 64); err == nil {
			base = time.Duration(up * float64(time.Second))
		}
	}
	start := time.Now()
	return func() flow.Tick { return flow.Tick((base + time.Since(start)).Milliseconds()) }
}

func workerCount(conf *cluster.Cluster) int {
	if n := conf.Forwarding.Workers; n > 0 {
		return n
	}
	return min(runtime.NumCPU(), 8)
}

// queues are a director's packet sockets and the workers on them.
type queues struct {
	receivers []*afpacket.Receiver
	senders   []*afpacket.Sender
	workers   []*forwarder.Worker
	views     []control.WorkerView
}

func openQueues(me *cluster.Director, n int, table *flow.Table, snapshot *atomic.Pointer[forwarder.Snapshot], now func() flow.Tick, log *slog.Logger) (q *queues, err error) {
	q = &queues{}
	defer func() {
		if err != nil {
			err = errors.Join(err, q.close())
		}
	}()
	if q.receivers, err = afpacket.NewReceivers(afpacket.Config{Device: me.Client.Device}, n); err != nil {
		return q, err
	}
	for i, rx := range q.receivers {
		var to [2]*afpacket.Sender
		for j, device := range []string{me.Server.Device, me.Client.Device} {
			if to[j], err = afpacket.NewSender(afpacket.SenderConfig{Device: device}); err != nil {
				return q, err
			}
			q.senders = append(q.senders, to[j])
		}
		w := forwarder.NewWorker(forwarder.WorkerConfig{
			Receiver: rx, Servers: to[0], Clients: to[1], Table: table, Snapshot: snapshot, Now: now, Index: i, Count: n, Log: log,
		})
		q.workers = append(q.workers, w)
		q.views = append(q.views, control.WorkerView{Counters: w.Counters(), Receiver: rx, Servers: to[0], Clients: to[1]})
	}
	return q, nil
}

// SetFilter gives every receive queue the same filter.
func (q *queues) SetFilter(f pktio.Filter) error {
	for _, r := range q.receivers {
		if err := r.SetFilter(f); err != nil {
			return err
		}
	}
	return nil
}

func (q *queues) close() (err error) {
	for _, r := range q.receivers {
		err = errors.Join(err, r.Close())
	}
	for _, s := range q.senders {
		err = errors.Join(err, s.Close())
	}
	return err
}

func reloadOnHangup(ctx context.Context, d *control.Control) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
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
