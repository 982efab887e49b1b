package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/svm-cluster/svm/ems/enroll"
	"github.com/svm-cluster/svm/ems/render"
	"github.com/urfave/cli/v2"
)

func enrollCommand() *cli.Command {
	return &cli.Command{
		Name: "enroll", Usage: "let the station's directors configure this server; once, as root", ArgsUsage: "TOKEN",
		Description: "TOKEN is what svm-ems token prints. Pins the station's signing key, lets the\n" +
			"directors' SSH keys start the receiver and nothing else, and puts the units there.\n" +
			"Prints this server's line for svm-ems enroll. May be repeated.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "node", Usage: "`NAME` of this server in the cluster file (default: the host name up to its first dot)"},
			&cli.StringFlag{Name: "user", Value: "svm-push", Usage: "`USER` whom the directors log in as (delivery.ssh_user)"},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 {
				return errors.New("usage: svm-rs enroll [options] TOKEN")
			}
			token, err := enroll.ParseToken(c.Args().First())
			if err != nil {
				return err
			}
			name, err := nodeName(c)
			if err != nil {
				return err
			}
			m := &enroll.Machine{Root: "/", Kind: render.RealServer, Name: name, User: c.String("user"),
				Receiver: "/usr/local/bin/svm-rs receive", Token: token}
			line, err := m.Enroll()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.App.Writer, line)
			return err
		},
	}
}

// nodeName is this server's name in the cluster file.
func nodeName(c *cli.Context) (string, error) {
	if n := c.String("node"); n != "" {
		return n, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("host name: %w; give --node NAME", err)
	}
	short, _, _ := strings.Cut(host, ".")
	return strings.ToLower(short), nil
}
