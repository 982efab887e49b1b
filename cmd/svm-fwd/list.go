package main

import (
	"errors"
	"fmt"

	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/urfave/cli/v2"
)

func listCommand() *cli.Command {
	return asks(&cli.Command{
		Name: "list", Usage: "services, servers and connections, as ipvsadm -L prints them",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			s, err := client(c).Status(c.Context)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(c, s)
			}
			return errors.New("to come")
		},
	})
}

var _ = fmt.Sprint
var _ control.Status
