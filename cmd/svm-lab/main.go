// Command svm-lab shows SVM at work on one machine: a whole farm in network
// namespaces, real HTTP through it, and the proofs that it is direct routing.
// It needs no root where user namespaces are allowed.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
)

func main() {
	if asked, err := farm.Serve(); asked {
		if err != nil {
			fmt.Fprintln(os.Stderr, "svm-lab:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := app().RunContext(ctx, os.Args)
	stop()
	var code exitCode
	switch {
	case err == nil:
	case errors.As(err, &code):
		os.Exit(int(code))
	default:
		fmt.Fprintln(os.Stderr, "svm-lab:", err)
		os.Exit(1)
	}
}

// exitCode ends the program; what there is to say has been said.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func app() *cli.App {
	return &cli.App{
		Name:  "svm-lab",
		Usage: "a whole farm in network namespaces of this machine, with real HTTP through it",
		Description: "Builds a client, routers, two directors and real servers out of network\n" +
			"namespaces, sends HTTP requests to the virtual addresses, and checks every\n" +
			"answer and that replies bypass the director. Then it kills the active director\n" +
			"under open connections. Exit code 0 only if all is well and nothing broke.\n" +
			"Nothing is left behind. Needs root, or a system that allows user namespaces.",
		HideHelpCommand: true,
		ExitErrHandler:  func(*cli.Context, error) {},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "topology", Aliases: []string{"t"}, Value: farm.Topologies()[0].Name, Usage: "`NAME`: " + topologyNames() + ", all"},
			&cli.StringFlag{Name: "family", Value: "both", Usage: "address `FAMILY` of the virtual services: 4, 6, both"},
			&cli.IntFlag{Name: "servers", Value: 3, Usage: "`NUMBER` of real servers, 1 to 80"},
			&cli.StringFlag{Name: "scheduler", Value: "wlc", Usage: "`NAME` of the scheduler, as in IPVS: rr wrr lc wlc lblc lblcr sh dh sed nq fo ovf mh twos"},
			&cli.IntFlag{Name: "requests", Aliases: []string{"n"}, Value: 2000, Usage: "`NUMBER` of requests per topology, shared by the families"},
			&cli.BoolFlag{Name: "fast", Usage: "200 requests, smaller files and fewer connections, for CI"},
			&cli.BoolFlag{Name: "keep", Usage: "leave the farm up and say how to enter its machines, until ^C"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "print the cluster file and the daemons' logs as well"},
			&cli.StringFlag{Name: "bin", Usage: "`FOLDER` of svm-fwd and svm-rs (default: beside this program, the source tree, PATH)", EnvVars: []string{envBin}},
		},
		Action: lab,
	}
}

// envBin hands the folder of the binaries to this program's second run, inside
// the namespaces, where nothing can be downloaded for building them.
const envBin = "SVM_LAB_BIN"

// options are the flags, checked.
type options struct {
	topologies []farm.Topology
	fams       []farm.Family
	servers    int
	scheduler  string
	requests   int   // for each family
	bulk       int64 // bytes of the big file
	crowd      int   // connections that are open while a director dies
	keep       bool
	verbose    bool
}

func parseOptions(c *cli.Context) (o options, err error) {
	if c.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; see --help", c.Args().First())
	}
	if o.topologies, err = chooseTopologies(c.String("topology")); err != nil {
		return o, err
	}
	if o.fams, err = chooseFamilies(c.String("family")); err != nil {
		return o, err
	}
	if o.servers = c.Int("servers"); o.servers < 1 || o.servers > 80 {
		return o, fmt.Errorf("--servers %d: want 1 to 80", o.servers)
	}
	requests := c.Int("requests")
	o.bulk, o.crowd = 32<<20, 500
	if c.Bool("fast") {
		o.bulk, o.crowd = 4<<20, 60
		if !c.IsSet("requests") {
			requests = 200
		}
	}
	if requests < 1 {
		return o, fmt.Errorf("--requests %d: want at least 1", requests)
	}
	o.requests = (requests + len(o.fams) - 1) / len(o.fams)
	o.scheduler, o.keep, o.verbose = c.String("scheduler"), c.Bool("keep"), c.Bool("verbose")
	if o.keep && len(o.topologies) > 1 {
		return o, errors.New("--keep goes with one topology, not with all")
	}
	return o, nil
}

// lab runs outside first, where it builds the programs, and then inside.
func lab(c *cli.Context) error {
	o, err := parseOptions(c)
	if err != nil {
		return err
	}
	bin := c.String("bin")
	if bin == "" {
		tmp, err := os.MkdirTemp("", "svm-lab-bin-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		p, err := farm.FindPrograms(c.Context, tmp)
		if err != nil {
			return err
		}
		bin = p.Dir()
		if err := os.Setenv(envBin, bin); err != nil {
			return err
		}
	}
	p, err := farm.InFolder(bin)
	if err != nil {
		return err
	}
	inside, code, err := netlab.Enter()
	switch {
	case err != nil:
		return err
	case !inside && code != 0:
		return exitCode(code)
	case !inside:
		return nil
	}
	return show(c.Context, o, p, newScreen(os.Stdout))
}
