package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/realserver"
	"github.com/urfave/cli/v2"
)

// target is what the flags ask for.
type target struct {
	realserver.Config
	node string // name in the cluster file; empty with --vip
}

// defaultFile is where a configured server has its cluster file.
const defaultFile = "/etc/svm/cluster.yaml"

func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%q: no arguments are taken; VIPs are given by --vip", c.Args().First())
	}
	return nil
}

// wanted reads the cluster file or the --vip flags.
func wanted(c *cli.Context) (target, error) {
	if err := noArguments(c); err != nil {
		return target{}, err
	}
	file, vips := c.String("config"), c.StringSlice("vip")
	if file == "" && len(vips) == 0 && !c.IsSet("device") {
		if _, err := os.Stat(defaultFile); err == nil {
			file = defaultFile
		}
	}
	switch {
	case file != "" && (len(vips) > 0 || c.IsSet("device")):
		return target{}, errors.New("--config and --vip/--device exclude each other: the file names the VIPs and the device")
	case len(vips) > 0:
		if c.IsSet("node") {
			return target{}, errors.New("--node is for --config")
		}
		return fromFlags(vips, c.String("device"))
	case c.String("also") != "" && file == "":
		return target{}, errors.New("--also is for --config")
	case file == "":
		return target{}, errors.New("say what to serve: --config FILE, or --vip ADDRESS --device DEVICE")
	}
	t, err := fromFile(file, c.String("node"))
	if err != nil || c.String("also") == "" {
		return t, err
	}
	return t, t.also(c.String("also"))
}

// also adds the VIPs of another cluster file. One that isn't there, or doesn't have
// this server, has none: the device and all else are the first file's.
func (t *target) also(file string) error {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	cl, err := cluster.Load(file)
	if err != nil {
		return err
	}
	other, err := fromCluster(cl, []string{t.node})
	if err != nil {
		return nil
	}
	for _, a := range other.VIPs {
		if !slices.Contains(t.VIPs, a) {
			t.VIPs = append(t.VIPs, a)
		}
	}
	return nil
}

func fromFlags(vips []string, device string) (target, error) {
	if device == "" {
		return target{}, errors.New("--vip needs --device DEVICE: the one that faces the directors, such as eth0")
	}
	t := target{Config: realserver.Config{Device: device}}
	for _, v := range vips {
		a, err := netip.ParseAddr(v)
		if err != nil {
			return target{}, fmt.Errorf("--vip %q: want an IPv4 or IPv6 address without prefix length", v)
		}
		t.VIPs = append(t.VIPs, a)
	}
	return t, nil
}
