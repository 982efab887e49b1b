package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/svm-cluster/svm/ems/enroll"
	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/render"
	"github.com/urfave/cli/v2"
)

func receiveCommand() *cli.Command {
	return &cli.Command{
		Name: "receive", Usage: "take a configuration from the station; sshd starts it (restrict,command=)",
		Description: "Hands the session to svm-receiver.socket, whose unit runs receive --direct: the\n" +
			"command is SSH_ORIGINAL_COMMAND, or the first line of standard input.",
		Flags: []cli.Flag{
			nodeFlag(), storeFlag(),
			&cli.BoolFlag{Name: "direct", Usage: "do the work in this process"},
			&cli.BoolFlag{Name: "recover", Usage: "only end what a crash interrupted"},
		},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
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

func storeFlag() cli.Flag {
	return &cli.StringFlag{Name: "store", Value: machine.DefaultDir, Usage: "`DIR` where this machine keeps its configurations"}
}

// receiver is this director's end of a push.
func receiver(c *cli.Context, log *slog.Logger) (*push.Receiver, error) {
	name, err := nodeName(c)
	if err != nil {
		return nil, err
	}
	pin, err := enroll.Pinned("/", "svm-fwd")
	if err != nil {
		return nil, err
	}
	identity, err := os.ReadFile(enroll.IdentityFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	store, err := machine.OpenSystem(c.String("store"), "", log)
	if err != nil {
		return nil, err
	}
	return &push.Receiver{
		Store: store, Kind: render.Director, Node: name, Pin: pin, Identity: identity,
		Incoming: filepath.Join(c.String("store"), "incoming"),
		Health:   daemonHealth(socketPath(c), name),
		Relay: &push.Relays{
			SSH:     push.SSH{Timeout: 10 * time.Second},
			KeyFile: render.RelayKeyFile,
		},
		Version: version(), Log: log,
	}, nil
}
