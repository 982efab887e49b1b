// Command svm-rs prepares a real server for direct routing: it puts the virtual
// addresses on loopback, keeps the host from answering for them, checks that,
// and takes it all back.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/svm-cluster/svm/realserver"
	"github.com/urfave/cli/v2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// errFindings ends a check that found something: what it is has been printed.
var errFindings = errors.New("the host is not ready for direct routing")

// run is the whole program; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := app(stdout, stderr).RunContext(ctx, args)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFindings):
		return 1
	}
	fmt.Fprintf(stderr, "svm-rs: %v\n", err)
	return 1
}

func app(stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:  "svm-rs",
		Usage: "loopback and ARP state of a real server",
		Description: "A real server takes packets for the virtual addresses (VIPs) and never\n" +
			"answers ARP or NDP for them. Name them by a cluster file, or by --vip.\n" +
			"apply and undo need CAP_NET_ADMIN and write to the state file's directory;\n" +
			"check needs no privilege but to read that file.",
		Writer: stdout, ErrWriter: stderr,
		HideHelpCommand: true,
		// Errors come back from RunContext; nothing below main exits.
		ExitErrHandler: func(*cli.Context, error) {},
		Commands: []*cli.Command{
			{
				Name: "apply", Usage: "bring the host to what the cluster file says",
				Flags: append(flags(), dryRun), Action: apply,
			},
			{
				Name: "check", Usage: "say what is wrong and the command that mends it; exit 1 if something is",
				Flags: append(flags(), &cli.BoolFlag{Name: "json", Aliases: []string{"j"}, Usage: "print one JSON object"}), Action: check,
			},
			enrollCommand(), receiveCommand(), agentCommand(),
			{
				Name: "undo", Usage: "bring the host back to what it was before the first apply",
				Description: "What to undo is in the state file: --config, --node, --vip and --device are\naccepted and not looked at.",
				Flags:       append(flags(), dryRun), Action: undo,
			},
		},
	}
}

var dryRun = &cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only print the commands that would do the same by hand"}

func flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "cluster `FILE` (default: /etc/svm/cluster.yaml, where it is there and no --vip is given)"},
		&cli.StringFlag{Name: "node", Usage: "`NAME` of this server in the cluster file (default: the host name)"},
		&cli.StringSliceFlag{Name: "vip", Usage: "virtual `ADDRESS` without prefix length, instead of a cluster file; may be repeated"},
		&cli.StringFlag{Name: "also", Usage: "another cluster `FILE` whose VIPs are kept, too, if it is there: between two configurations both count"},
		&cli.StringFlag{Name: "device", Aliases: []string{"dev"}, Usage: "network `DEVICE` that faces the directors; with --vip"},
		&cli.StringFlag{Name: "state", Value: realserver.DefaultFile, Usage: "`FILE` that records what the host was like before"},
	}
}

func apply(c *cli.Context) error {
	want, err := wanted(c)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		if err := want.Validate(); err != nil {
			return err
		}
		return show(c, func(have realserver.State) []realserver.Step { return realserver.Plan(want.Config, have) })
	}
	steps, err := realserver.Apply(c.Context, want.Config, c.String("state"))
	if err == nil {
		list(c.App.Writer, steps)
	}
	return err
}

func undo(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	have, err := realserver.Read(c.Context, c.String("state"))
	if err != nil {
		return err
	}
	for _, k := range realserver.Kept(have) {
		fmt.Fprintln(c.App.ErrWriter, "svm-rs: left alone:", k)
	}
	if c.Bool("dry-run") {
		return show(c, realserver.PlanUndo)
	}
	steps, err := realserver.Undo(c.Context, c.String("state"))
	if err == nil {
		list(c.App.Writer, steps)
	}
	return err
}

// show prints what a plan would do.
func show(c *cli.Context, plan func(realserver.State) []realserver.Step) error {
	have, err := realserver.Read(c.Context, c.String("state"))
	if err == nil {
		list(c.App.Writer, plan(have))
	}
	return err
}

// list prints the steps as shell commands.
func list(w io.Writer, steps []realserver.Step) {
	if len(steps) == 0 {
		fmt.Fprintln(w, "nothing to do")
	}
	for _, s := range steps {
		fmt.Fprintln(w, s)
	}
}
