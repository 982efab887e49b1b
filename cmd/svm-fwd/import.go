package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/urfave/cli/v2"
)

func importCommand() *cli.Command {
	return &cli.Command{
		Name: "import", Usage: "translate an LVS configuration to a cluster file, on stdout",
		Description: "What can't be translated, or must be looked at, is said on stderr with its line and\n" +
			"marked with CHECK in the cluster file. FILE may be - for stdin.",
		Subcommands: []*cli.Command{
			importer("ipvsadm", "the output of ipvsadm -Sn (ipvsadm-save -n)", importIPVSADM),
			importer("keepalived", "keepalived.conf", importKeepalived),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("can't import from %q: want ipvsadm or keepalived", c.Args().First())
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

func importer(name, usage string, read func(*draft, string) error) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: "FILE",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			text, err := readSource(args[0])
			if err != nil {
				return err
			}
			d := &draft{file: args[0]}
			if err := read(d, text); err != nil {
				return err
			}
			if len(d.services) == 0 {
				return fmt.Errorf("%s has no virtual service", args[0])
			}
			out := d.yaml()
			fmt.Fprint(c.App.Writer, out)
			for _, n := range d.notes {
				fmt.Fprintln(c.App.ErrWriter, n)
			}
			if _, err := cluster.Parse("the translation", []byte(out)); err != nil {
				return fmt.Errorf("mend this by hand:\n%w", err)
			}
			return nil
		},
	}
}

func readSource(path string) (string, error) {
	in := io.Reader(os.Stdin)
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, cluster.MaxSize+1))
	if err == nil && len(raw) > cluster.MaxSize {
		err = errors.New(path + " is larger than 4 MiB")
	}
	return string(raw), err
}
