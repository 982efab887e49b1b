package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/svm-cluster/svm/forwarder/doctor"
	"github.com/urfave/cli/v2"
)

func doctorCommand() *cli.Command {
	return asks(&cli.Command{
		Name: "doctor", Usage: "what on this host breaks direct routing, and the command that mends it; exit 1 if anything does",
		Description: "Looks only, and changes nothing. It asks the daemon, if one runs, which real servers\n" +
			"it can't find.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "cluster `FILE`", Required: true},
			nodeFlag(),
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			conf, err := cluster.Load(c.String("config"))
			if err != nil {
				return err
			}
			node, err := nodeName(c)
			if err != nil {
				return err
			}
			found := doctor.Examine(c.Context, doctor.Config{
				Cluster: conf, File: c.String("config"), Node: node,
				Unresolved: func(ctx context.Context) ([]doctor.Missing, error) { return unresolved(ctx, client(c)) },
			})
			if c.Bool("json") {
				err = printJSON(c, found)
			} else {
				printFindings(c, found)
			}
			if err == nil && slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Level == doctor.Fail }) {
				err = errSaid
			}
			return err
		},
	})
}

// unresolved asks the daemon for the real servers that it can't find.
func unresolved(ctx context.Context, ask *control.Client) ([]doctor.Missing, error) {
	s, err := ask.Status(ctx)
	if err != nil {
		return nil, err
	}
	var missing []doctor.Missing
	for _, service := range s.Services {
		for _, v := range service.Servers {
			a, err := netip.ParseAddr(v.Address)
			m := doctor.Missing{Name: v.Name, Address: a}
			if err == nil && v.MAC == "" && !slices.Contains(missing, m) {
				missing = append(missing, m)
			}
		}
	}
	return missing, nil
}

func printFindings(c *cli.Context, found []doctor.Finding) {
	levels := map[doctor.Level]int{}
	for _, f := range found {
		levels[f.Level]++
		fmt.Fprintf(c.App.Writer, "%-4s  %-10s  %s\n", f.Level, f.Topic, f.Text)
		if f.Remedy != "" {
			fmt.Fprintf(c.App.Writer, "      mend:       %s\n", f.Remedy)
		}
	}
	fmt.Fprintf(c.App.Writer, "%d ok, %s, %s\n", levels[doctor.OK], count(levels[doctor.Warn], "warning"), count(levels[doctor.Fail], "failure"))
}
