package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/render"
	"github.com/svm-cluster/svm/ems/station"
	"github.com/urfave/cli/v2"
)

// defaultFile is the cluster file where none is named.
const defaultFile = "cluster.yaml"

func checkCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "say all that is wrong with a cluster file; exit 1 if something is",
		ArgsUsage: "[FILE]",
		Description: "FILE is cluster.yaml of this directory if none is given. Where there is a station, the\n" +
			"files of every machine are made from it, too, and thrown away.",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 0, 1)
			if err != nil {
				return err
			}
			file := defaultFile
			if len(args) == 1 {
				file = args[0]
			}
			return check(c, file)
		},
	}
}

func check(c *cli.Context, file string) error {
	yaml, err := readCluster(file)
	if err != nil {
		return err
	}
	conf, err := cluster.Parse(file, yaml)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "%s: fine: cluster %s, %s, %s, %s, %s\n", file, conf.Name, conf.Topology,
		count(len(conf.Directors), "director"), count(len(conf.RealServers), "real server"), count(len(conf.Services), "service"))
	s, err := open(c)
	if errors.Is(err, station.ErrNotInit) || errors.Is(err, os.ErrPermission) {
		return nil // a file may be checked anywhere
	}
	if err != nil {
		return err
	}
	d, err := s.Draft(file, yaml)
	if err != nil {
		return err
	}
	configs, err := configs(d.Input, d.Secrets)
	if err != nil {
		return err
	}
	n := 0
	for _, conf := range configs {
		n += len(conf.Files)
	}
	fmt.Fprintf(c.App.Writer, "%s for %s\n", count(n, "file"), count(len(configs), "machine"))
	for _, warning := range unknown(d) {
		fmt.Fprintln(c.App.Writer, warning)
	}
	return nil
}

// unknown says which machines aren't enrolled, and what that leads to.
func unknown(d *station.Draft) (warnings []string) {
	var host, seal []string
	for i := range d.Cluster.Directors {
		m, _ := d.Input.Roster.Machine(d.Cluster.Directors[i].Name)
		if m.HostKey == "" {
			host = append(host, d.Cluster.Directors[i].Name)
		}
		if m.Age == "" {
			seal = append(seal, d.Cluster.Directors[i].Name)
		}
	}
	for i := range d.Cluster.RealServers {
		if m, _ := d.Input.Roster.Machine(d.Cluster.RealServers[i].Name); m.HostKey == "" {
			host = append(host, d.Cluster.RealServers[i].Name)
		}
	}
	if len(host) > 0 {
		warnings = append(warnings, fmt.Sprintf("not enrolled, so not reached by push: %s", list(host)))
	}
	if len(seal) > 0 {
		warnings = append(warnings, fmt.Sprintf("no key to seal secrets to, so only a medium with a passphrase configures: %s", list(seal)))
	}
	return warnings
}

// configs renders every machine's files: directors first, each kind as in the file.
func configs(in render.Input, secrets map[string]render.Secrets) ([]*render.Config, error) {
	r, err := render.New(in)
	if err != nil {
		return nil, err
	}
	var all []*render.Config
	conf := r.Cluster()
	for i := range conf.Directors {
		name := conf.Directors[i].Name
		f, err := r.Director(name, secrets[name])
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	for i := range conf.RealServers {
		f, err := r.RealServer(conf.RealServers[i].Name)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}
