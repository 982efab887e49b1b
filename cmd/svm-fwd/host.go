package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/neigh"
	"github.com/svm-cluster/svm/ha"
)

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

// pairKey reads the pair's secret; nil when the cluster file names none.
func pairKey(conf *cluster.Cluster) ([]byte, error) {
	if conf.HA.KeyFile == "" {
		return nil, nil
	}
	key, err := ha.ReadKey(conf.HA.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("ha.key_file: %w", err)
	}
	return key, nil
}

// hashKey keys the hashes that both directors must agree on: with the pair's
// secret if there is one, so that nobody outside can aim at a server.
func hashKey(conf *cluster.Cluster, secret []byte) (key [16]byte) {
	h := sha256.New()
	fmt.Fprintf(h, "svm schedulers %s\n", conf.Name)
	h.Write(secret)
	copy(key[:], h.Sum(nil))
	return key
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
