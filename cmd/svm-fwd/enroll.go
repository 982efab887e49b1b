package main

import (
	"fmt"

	"github.com/svm-cluster/svm/ems/enroll"
	"github.com/svm-cluster/svm/ems/render"
	"github.com/urfave/cli/v2"
)

func enrollCommand() *cli.Command {
	return &cli.Command{
		Name: "enroll", Usage: "let a station configure this director; once, as root", ArgsUsage: "TOKEN",
		Description: "TOKEN is what svm-ems token prints. Pins the station's signing key, makes this\n" +
			"machine's own key, lets the station's SSH key start the receiver and nothing else,\n" +
			"and puts the units there. Prints this machine's line for svm-ems enroll. May be\n" +
			"repeated: the machine's key stays.",
		Flags: []cli.Flag{
			nodeFlag(),
			&cli.StringFlag{Name: "user", Value: "svm-push", Usage: "`USER` whom the station logs in as (delivery.ssh_user)"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			token, err := enroll.ParseToken(args[0])
			if err != nil {
				return err
			}
			name, err := nodeName(c)
			if err != nil {
				return err
			}
			m := &enroll.Machine{Root: "/", Kind: render.Director, Name: name, User: c.String("user"),
				Receiver: "/usr/local/bin/svm-fwd receive", Token: token}
			line, err := m.Enroll()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.App.Writer, line)
			return err
		},
	}
}
