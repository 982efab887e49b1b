package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/urfave/cli/v2"
)

func saveCommand() *cli.Command {
	return asks(&cli.Command{
		Name: "save", Usage: "print what was changed at run time, for restore",
		Description: "Changes by svm-fwd server end with the daemon. One line each, as behind svm-fwd:\n" +
			"  svm-fwd save > changes; systemctl restart svm-fwd; svm-fwd restore changes",
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			s, err := client(c).Status(c.Context)
			if err != nil {
				return err
			}
			for _, service := range s.Services {
				for _, v := range service.Servers {
					for _, a := range v.Runtime {
						fmt.Fprintln(c.App.Writer, actionText(a))
					}
				}
			}
			return nil
		},
	})
}

func restoreCommand() *cli.Command {
	return asks(&cli.Command{
		Name: "restore", Usage: "do again what save printed",
		Description: "FILE may be - for stdin. A service or server that is gone is said and left out;\n" +
			"the exit code is then 1.",
		ArgsUsage: "FILE",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			text, err := readSource(args[0])
			if err != nil {
				return err
			}
			actions, err := parseActions(args[0], text)
			if err != nil {
				return err // before anything was done
			}
			var errs []error
			for _, a := range actions {
				_, err := client(c).Do(c.Context, a)
				var refused *control.APIError
				if err != nil && !errors.As(err, &refused) {
					return err
				}
				if err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", actionText(a), err))
				}
			}
			return errors.Join(errs...)
		},
	})
}

func actionText(a control.ServerAction) string {
	text := "server " + a.Action + " " + a.Service + " " + a.Server
	if a.Action == "weight" {
		text += " " + strconv.Itoa(a.Weight)
	}
	return text
}

// parseActions reads what actionText writes, and comments.
func parseActions(file, text string) (actions []control.ServerAction, err error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		w := strings.Fields(line)
		if len(w) == 0 {
			continue
		}
		a := control.ServerAction{}
		if len(w) >= 4 {
			a = control.ServerAction{Action: w[1], Service: w[2], Server: w[3]}
		}
		if a.Action == "weight" && len(w) == 5 {
			a.Weight, err = strconv.Atoi(w[4])
		}
		if err != nil || w[0] != "server" || actionText(a) != strings.Join(w, " ") {
			return nil, fmt.Errorf("%s:%d: want a line like \"server drain SERVICE SERVER\", as save prints it", file, n)
		}
		actions = append(actions, a)
	}
	return actions, nil
}
