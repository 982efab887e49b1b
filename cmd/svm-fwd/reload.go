package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/urfave/cli/v2"
)

func reloadCommand() *cli.Command {
	return asks(&cli.Command{
		Name: "reload", Usage: "make the daemon read its cluster file again, and say what changed",
		Description: "A file that does not validate is refused with all that is wrong with it; the old\none stays in force.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			r, err := client(c).Reload(c.Context)
			var refused *control.APIError
			if errors.As(err, &refused) && refused.Status == http.StatusUnprocessableEntity {
				return fmt.Errorf("the cluster file is refused, the old one stays in force:\n%w", err)
			}
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(c, r)
			}
			switch {
			case !r.Changed:
				fmt.Fprintln(c.App.Writer, "nothing changed")
			case len(r.Changes) == 0 && len(r.Restart) == 0:
				fmt.Fprintln(c.App.Writer, "taken over; nothing that this director does changes")
			}
			for _, line := range r.Changes {
				fmt.Fprintln(c.App.Writer, line)
			}
			for _, field := range r.Restart {
				fmt.Fprintf(c.App.Writer, "%s: takes effect at the next start only\n", field)
			}
			return nil
		},
	})
}
