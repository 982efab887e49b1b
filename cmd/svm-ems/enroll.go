package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/enroll"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/station"
	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"
)

func tokenCommand() *cli.Command {
	return &cli.Command{
		Name: "token", Usage: "print the word that tells a machine whom to believe: svm1:...",
		Description: "Give it to `svm-fwd enroll TOKEN` on a director, to `svm-rs enroll TOKEN` on a real server.\n" +
			"It isn't secret, but must not be changed on its way: whoever does that rules the machine.\n" +
			"After a director was added, enroll the real servers again.",
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			t, err := s.Token()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.App.Writer, t)
			return err
		},
	}
}

func enrollCommand() *cli.Command {
	return &cli.Command{
		Name: "enroll", Usage: "take a machine's public keys",
		ArgsUsage: "NAME KEYTYPE KEY [AGE]  (the line that enroll printed there), or --scan NAME",
		Description: "With --scan the host key that answers at the machine's address is believed without proof\n" +
			"(trust on first use); a director gets its secrets by a medium only, until its own line is given.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "scan", Usage: "ask the sshd of machine `NAME` for its host key"},
			&cli.BoolFlag{Name: "replace", Usage: "the machine has new keys: it was replaced or installed anew"},
		},
		Action: func(c *cli.Context) error {
			line, err := enrollment(c)
			if err != nil {
				return err
			}
			return change(c, func(s *station.Station) error {
				changed, err := s.Enroll(line, c.Bool("replace"))
				if err != nil {
					return err
				}
				fmt.Fprintf(c.App.Writer, "%s: host key %s\n", line.Name, station.Fingerprint(line.HostKey))
				if !changed {
					fmt.Fprintln(c.App.Writer, "it was known already")
				} else {
					fmt.Fprintln(c.App.Writer, "the next push, commit or image takes it in")
				}
				return nil
			})
		},
	}
}

func enrollment(c *cli.Context) (enroll.Line, error) {
	if name := c.String("scan"); name != "" {
		if c.Args().Present() {
			return enroll.Line{}, errors.New("enroll: a line or --scan NAME, not both")
		}
		return scan(c, name)
	}
	if !c.Args().Present() {
		_, err := arguments(c, 1, 1)
		return enroll.Line{}, err
	}
	line, err := enroll.ParseLine(strings.Join(c.Args().Slice(), " "))
	if err == nil && line.HostKey == "" {
		err = errors.New("machine line: it has no host key: give the line whole")
	}
	return line, err
}

func scan(c *cli.Context, name string) (enroll.Line, error) {
	s, err := open(c)
	if err != nil {
		return enroll.Line{}, err
	}
	g, err := s.Newest()
	if err != nil {
		return enroll.Line{}, err
	}
	conf, err := cluster.Parse("cluster.yaml", g.YAML)
	if err != nil {
		return enroll.Line{}, err
	}
	var at push.Target
	if d := conf.Director(name); d != nil {
		at = push.DirectorTarget(conf, d)
	} else if r := conf.RealServer(name); r != nil {
		at = push.ServerTarget(conf, r)
	} else {
		return enroll.Line{}, fmt.Errorf("%s isn't in generation %d: svm-ems commit a cluster file that names it first", printable(name), g.Stamp.Generation)
	}
	key, err := push.Scan(c.Context, at.Addr)
	if err != nil {
		return enroll.Line{}, err
	}
	fmt.Fprintf(c.App.ErrWriter, "believed without proof; compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on %s\n", name)
	return enroll.Line{Name: name, HostKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))}, nil
}
