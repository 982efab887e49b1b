package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/station"
	"github.com/urfave/cli/v2"
)

func initCommand() *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "make a station: its keys, and generation 1",
		Description: "From a cluster file with --from; or from the other options, which write a short one with\n" +
			"comments; or, on a terminal without options, from answers to questions.\n" +
			"Example: svm-ems init --cluster shop --vip 192.168.1.100 --director eds1=192.168.1.2,192.168.2.2 \\\n" +
			"  --director eds2=192.168.1.3,192.168.2.3 --realserver eps1=192.168.2.11 --realserver eps2=192.168.2.12",
		Flags: append(sketchFlags(),
			&cli.StringFlag{Name: "from", Usage: "existing cluster `FILE`"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FILE` to write the new cluster file to", Value: defaultFile},
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "ask for what the options don't say"},
			&cli.StringFlag{Name: "ha-key", Usage: "`FILE` with the key of a pair that runs already, 64 hex digits (default: a new key)"},
			noteFlag()),
		Action: initStation,
	}
}

func initStation(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	cfg := station.InitConfig{
		Dir: c.String("state"), Name: c.String("from"), User: userName(),
		Change: station.Change{Author: author(), Note: "the first generation"},
	}
	if c.IsSet("note") {
		cfg.Note = c.String("note")
	}
	if s, err := station.Open(cfg.Dir); err == nil {
		return fmt.Errorf("%s is a station already: svm-ems commit FILE makes its next generation", s.Dir())
	}
	if path := c.String("ha-key"); path != "" {
		key, err := passphraseFile(path) // a line of a file that nobody else may read
		if err != nil {
			return fmt.Errorf("the pair's key: %w", err)
		}
		cfg.HAKey = []byte(key)
	}
	output := ""
	if cfg.Name != "" {
		for _, f := range sketchFlags() {
			if c.IsSet(f.Names()[0]) {
				return fmt.Errorf("--from and --%s: the cluster file says all", f.Names()[0])
			}
		}
		yaml, err := readCluster(cfg.Name)
		if err != nil {
			return err
		}
		cfg.YAML = yaml
	} else {
		output = c.String("output")
		k, err := newSketch(c)
		if err != nil {
			return err
		}
		if _, err := os.Lstat(output); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already: give it with --from, or another name with --output", output)
		}
		cfg.Name, cfg.YAML = output, []byte(k.yaml())
	}
	return initWith(c, cfg, output)
}

func initWith(c *cli.Context, cfg station.InitConfig, output string) error {
	if _, err := cluster.Parse(cfg.Name, cfg.YAML); err != nil {
		return err
	}
	if output != "" {
		// Before the station: what can't be written shall not leave one behind.
		if err := writeNew(output, cfg.YAML); err != nil {
			return err
		}
	}
	s, err := station.Init(c.Context, cfg)
	if err != nil {
		if output != "" {
			_ = os.Remove(output)
		}
		return err
	}
	g, err := s.Newest()
	if err != nil {
		return err
	}
	w := c.App.Writer
	if output != "" {
		fmt.Fprintf(w, "%s: look through it; it has a comment on all that was assumed\n", output)
	}
	fmt.Fprintf(w, "%s: station of cluster %s, generation %d\n", s.Dir(), g.Cluster, g.Stamp.Generation)
	fmt.Fprintf(w, "key %s\n", s.PublicKey())
	file := cfg.Name
	if !filepath.IsAbs(file) && !strings.HasPrefix(file, ".") {
		file = "./" + file
	}
	fmt.Fprintf(w, "next, by the net: svm-ems token, enroll each machine with it, svm-ems push %s\n", file)
	fmt.Fprintln(w, "or by a medium:   svm-ems image write PATH --passphrase")
	fmt.Fprintln(w, "and keep:         svm-ems backup FILE")
	return nil
}

// writeNew writes a file that isn't there yet.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("cluster file: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("cluster file: %w", err)
	}
	return nil
}
