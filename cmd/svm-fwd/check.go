package main

import (
	"errors"
	"fmt"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/urfave/cli/v2"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "say all that is wrong with a cluster file; exit 1 if something is",
		ArgsUsage: "FILE",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			conf, err := cluster.Load(args[0])
			var problems cluster.Problems
			switch {
			case errors.As(err, &problems):
				for _, p := range problems {
					fmt.Fprintln(c.App.ErrWriter, p)
				}
				fmt.Fprintf(c.App.ErrWriter, "%s: %s\n", args[0], count(len(problems), "problem"))
				return errSaid
			case err != nil:
				return err
			}
			fmt.Fprintf(c.App.Writer, "%s: fine: cluster %s, %s, %s, %s, %s\n", args[0], conf.Name, conf.Topology,
				count(len(conf.Directors), "director"), count(len(conf.RealServers), "real server"), count(len(conf.Services), "service"))
			fmt.Fprintf(c.App.Writer, "digest %s\n", conf.Digest())
			return nil
		},
	}
}
