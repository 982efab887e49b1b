package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/render"
	"golang.org/x/sync/errgroup"
)

// asProcess makes this test binary behave as a director's or a real server's process.
const asProcess = "SVM_PROVISION_TEST_PROCESS"

// process says what such a process is.
type process struct {
	Kind             render.Kind
	Dir              string // of its store, its files and what it tells the test
	Node, Pin        string
	YAML             string // a director's fallback; a file
	Identity         string // a file
	Peers, Directors []netip.AddrPort
	HostName, Device string
	Every, Patience  time.Duration
}

func TestMain(m *testing.M) {
	if text := os.Getenv(asProcess); text != "" {
		if err := play(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	netlab.Main(m)
}

// obedient is an Activator that changes nothing.
type obedient struct{}

func (obedient) Check(context.Context, *render.Manifest, string) error              { return nil }
func (obedient) Activate(context.Context, *render.Manifest, *render.Manifest) error { return nil }
func (obedient) Settle(context.Context, *render.Manifest, *render.Manifest) error   { return nil }

func openStore(dir string) (*machine.Store, error) {
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	return machine.Open(machine.Config{Root: root, Dir: filepath.Join(dir, "store"), Activator: obedient{}})
}

func play(text string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var p process
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	store, err := openStore(p.Dir)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if p.Kind == render.RealServer {
		a := NewAgent(AgentConfig{
			Store: store, Pin: p.Pin, Node: p.Node, HostName: p.HostName, Device: p.Device, Directors: p.Directors,
			Every: p.Every, Patience: p.Patience, Log: log,
			Cluster: func() *cluster.Cluster {
				c, err := cluster.Load(filepath.Join(p.Dir, "root/etc/svm/cluster.yaml"))
				if err != nil {
					return nil
				}
				return c
			},
		})
		a.after = time.Second
		return a.Run(ctx)
	}
	var fallback *cluster.Cluster
	if p.YAML != "" {
		if fallback, err = cluster.Load(p.YAML); err != nil {
			return err
		}
	}
	srv := NewServer(Config{
		Node: p.Node, Store: store, Pin: p.Pin, Log: log,
		Cluster: func() *cluster.Cluster { return fallback },
		Active: func() bool {
			_, err := os.Stat(filepath.Join(p.Dir, "active"))
			return err == nil
		},
	})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return srv.Run(ctx) })
	group.Go(func() error {
		return NewCatchUp(CatchUpConfig{
			Node: p.Node, Store: store, Pin: p.Pin, Every: p.Every, Patience: p.Patience, Log: log,
			Identity: func() ([]byte, error) { return os.ReadFile(p.Identity) },
			Peers:    func() []netip.AddrPort { return p.Peers },
		}).Run(ctx)
	})
	group.Go(func() error {
		for sleep(ctx, 20*time.Millisecond) {
			b, err := json.Marshal(srv.Status())
			if err == nil {
				err = os.WriteFile(filepath.Join(p.Dir, "status.tmp"), b, 0o644)
			}
			if err == nil {
				err = os.Rename(filepath.Join(p.Dir, "status.tmp"), filepath.Join(p.Dir, "status"))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}
