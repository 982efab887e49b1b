package main

import (
	"fmt"
	"strconv"

	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/urfave/cli/v2"
)

func serverCommand() *cli.Command {
	simple := func(action, usage string) *cli.Command {
		return asks(&cli.Command{
			Name: action, Usage: usage, ArgsUsage: "SERVICE SERVER", Flags: []cli.Flag{jsonFlag()},
			Action: func(c *cli.Context) error {
				args, err := arguments(c, 2, 2)
				if err != nil {
					return err
				}
				return act(c, control.ServerAction{Service: args[0], Server: args[1], Action: action})
			},
		})
	}
	return &cli.Command{
		Name: "server", Usage: "change one server of a service until the daemon ends",
		Description: "The cluster file is not touched; the change outlives reloads, not the daemon.",
		Subcommands: []*cli.Command{
			simple("drain", "no new connections; those there are go on"),
			simple("ready", "as the cluster file has it: undoes drain, maint and weight"),
			simple("maint", "no new connections, and those there are go to other servers"),
			asks(&cli.Command{
				Name: "weight", Usage: "another weight, 0 to 65535 (0: no new connections)",
				ArgsUsage: "SERVICE SERVER N", Flags: []cli.Flag{jsonFlag()},
				Action: func(c *cli.Context) error {
					args, err := arguments(c, 3, 3)
					if err != nil {
						return err
					}
					n, err := strconv.ParseUint(args[2], 10, 16)
					if err != nil {
						return fmt.Errorf("weight %q: want a number from 0 to 65535", args[2])
					}
					return act(c, control.ServerAction{Service: args[0], Server: args[1], Action: "weight", Weight: int(n)})
				},
			}),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("no action %q: want drain, ready, maint or weight", c.Args().First())
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

func act(c *cli.Context, a control.ServerAction) error {
	v, err := client(c).Do(c.Context, a)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, v)
	}
	fmt.Fprintf(c.App.Writer, "%s %s: %s, weight %d, %d active and %d inactive connections\n", a.Service, v.Name, v.State, v.Weight, v.Active, v.Inactive)
	if v.Why != "" {
		fmt.Fprintf(c.App.Writer, "  %s\n", v.Why)
	}
	return nil
}
