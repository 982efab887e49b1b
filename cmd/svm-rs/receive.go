package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/svm-cluster/svm/ems/enroll"
	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/render"
	"github.com/svm-cluster/svm/realserver"
	"github.com/urfave/cli/v2"
)

func receiveCommand() *cli.Command {
	return &cli.Command{
		Name: "receive", Usage: "take a configuration from a director; sshd starts it (restrict,command=)",
		Description: "Hands the session to svm-receiver.socket, whose unit runs receive --direct: the\n" +
			"command is SSH_ORIGINAL_COMMAND, or the first line of standard input.",
		Flags: []cli.Flag{
			nodeFlag(), storeFlag(),
			&cli.BoolFlag{Name: "direct", Usage: "do the work in this process"},
			&cli.BoolFlag{Name: "recover", Usage: "only end what a crash interrupted"},
		},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(c.App.ErrWriter, nil))
			if c.Bool("recover") {
				return machine.RecoverSystem(c.Context, c.String("store"), log)
			}
			command, given := os.LookupEnv("SSH_ORIGINAL_COMMAND")
			return push.Session{
				Command: command, Given: given, Direct: c.Bool("direct"), Socket: render.ReceiverSocket, In: os.Stdin, Out: c.App.Writer,
				Receiver: func() (*push.Receiver, error) { return receiver(c, log) },
			}.Run(c.Context)
		},
	}
}

func nodeFlag() cli.Flag {
	return &cli.StringFlag{Name: "node", Usage: "`NAME` of this server in the cluster file (default: the host name up to its first dot)"}
}

func storeFlag() cli.Flag {
	return &cli.StringFlag{Name: "store", Value: machine.DefaultDir, Usage: "`DIR` where this machine keeps its configurations"}
}

// receiver is this server's end of a push.
func receiver(c *cli.Context, log *slog.Logger) (*push.Receiver, error) {
	name, err := nodeName(c)
	if err != nil {
		return nil, err
	}
	pin, err := enroll.Pinned("/", "svm-rs")
	if err != nil {
		return nil, err
	}
	store, err := machine.OpenSystem(c.String("store"), "", log)
	if err != nil {
		return nil, err
	}
	return &push.Receiver{
		Store: store, Kind: render.RealServer, Node: name, Pin: pin,
		Incoming: filepath.Join(c.String("store"), "incoming"),
		Health:   health(name),
		Version:  version(), Log: log,
	}, nil
}

// health tells the station what this server has on loopback and what is wrong.
func health(name string) func(context.Context) *push.Health {
	return func(ctx context.Context) *push.Health {
		h := &push.Health{}
		want, err := fromFile(defaultFile, name)
		var have realserver.State
		if err == nil {
			have, err = realserver.Read(ctx, realserver.DefaultFile)
		}
		if err != nil {
			h.Problems = append(h.Problems, err.Error())
			return h
		}
		for _, a := range have.Addresses {
			if a.Device == "lo" && a.Prefix.IsSingleIP() && !a.Prefix.Addr().IsLoopback() {
				h.VIPs = append(h.VIPs, a.Prefix.Addr().String())
			}
		}
		for _, f := range realserver.Check(want.Config, have) {
			if f.Level == realserver.Error {
				h.Problems = append(h.Problems, f.Problem)
			}
		}
		return h
	}
}

// version is what the module was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}
