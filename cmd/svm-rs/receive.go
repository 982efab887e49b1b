package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/svm-cluster/svm/ems/enroll"
	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/render"
	"github.com/svm-cluster/svm/realserver"
	"github.com/urfave/cli/v2"
)

// receiverSocket is where svm-receiver.socket listens.
const receiverSocket = "/run/svm-receiver.sock"

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
			command, given := os.LookupEnv("SSH_ORIGINAL_COMMAND")
			log := slog.New(slog.NewTextHandler(c.App.ErrWriter, nil))
			switch {
			case c.Bool("recover"):
				return recoverStore(c, log)
			case !c.Bool("direct") && !given:
				return errors.New("receive is started by sshd, which says what is wanted: ssh server hello")
			case !c.Bool("direct"):
				return push.Bridge(c.Context, receiverSocket, command, os.Stdin, c.App.Writer)
			}
			r, err := receiver(c, log)
			if err != nil {
				return err
			}
			if given {
				return r.Serve(c.Context, command, os.Stdin, c.App.Writer)
			}
			command, in, err := push.Handed(os.Stdin)
			if err != nil {
				return err
			}
			return r.Serve(c.Context, command, in, c.App.Writer)
		},
	}
}

func nodeFlag() cli.Flag {
	return &cli.StringFlag{Name: "node", Usage: "`NAME` of this server in the cluster file (default: the host name up to its first dot)"}
}

func storeFlag() cli.Flag {
	return &cli.StringFlag{Name: "store", Value: machine.DefaultDir, Usage: "`DIR` where this machine keeps its configurations"}
}

// configStore is this server's configuration store. self is the unit that this process
// runs in, if a configuration may change it.
func configStore(c *cli.Context, self string, log *slog.Logger) (*machine.Store, error) {
	dir := c.String("store")
	return machine.Open(machine.Config{
		Root: "/", Dir: dir, Log: log,
		Activator: &machine.SystemdActivator{Root: "/", Dir: dir, Self: self, Log: log},
	})
}

// recoverStore ends what a crash interrupted. Where somebody works on the store he has
// done that already, and may be waiting for this very process: systemd runs it when a
// unit stops that he has told to.
func recoverStore(c *cli.Context, log *slog.Logger) error {
	dir := c.String("store")
	s, err := machine.Open(machine.Config{
		Root: "/", Dir: dir, Log: log, LockWait: 50 * time.Millisecond,
		Activator: &machine.SystemdActivator{Root: "/", Dir: dir, Log: log},
	})
	if err == nil {
		err = s.Recover(c.Context)
	}
	if errors.Is(err, machine.ErrBusy) {
		return nil
	}
	return err
}

// receiver is this server's end of a push.
func receiver(c *cli.Context, log *slog.Logger) (*push.Receiver, error) {
	name, err := nodeName(c)
	if err != nil {
		return nil, err
	}
	pin, err := stationKey()
	if err != nil {
		return nil, err
	}
	store, err := configStore(c, "", log)
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

// stationKey is the key that this machine was enrolled with.
func stationKey() (string, error) {
	b, err := os.ReadFile(enroll.PinFile)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("this machine trusts no station yet (%s): svm-rs enroll TOKEN, with what svm-ems token prints", enroll.PinFile)
	}
	return strings.TrimSpace(string(b)), err
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
