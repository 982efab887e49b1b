package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/station"
	"github.com/urfave/cli/v2"
)

func imageCommand() *cli.Command {
	return &cli.Command{
		Name: "image", Usage: "floppy and USB images, for machines that the station doesn't reach",
		Subcommands: []*cli.Command{
			{
				Name: "write", Usage: "write the newest generation to a file or a block device", ArgsUsage: "PATH",
				Description: "A 1.44 MB floppy (FAT12), or a USB image with --usb. `svm-fwd firstboot` on a director takes\n" +
					"it. Directors that are enrolled open their secrets with their own key; for others give a\n" +
					"passphrase, which firstboot asks for. The same command writes the same bytes.",
				Flags: append([]cli.Flag{
					&cli.BoolFlag{Name: "usb", Usage: "32 MiB (FAT) instead of 1.44 MB"},
					&cli.BoolFlag{Name: "passphrase", Aliases: []string{"p"}, Usage: "ask on the terminal for a passphrase that seals the secrets"},
					&cli.BoolFlag{Name: "force", Usage: "write over a device that holds something else, or over a file that is no image"},
					&cli.Uint64Flag{Name: "generation", Usage: "another generation than the newest one, by `NUMBER`; machines refuse older ones than theirs"},
				}, passphraseFlags()...),
				Action: imageWrite,
			},
			{
				Name: "show", Usage: "say what is on a medium and whether this station signed it", ArgsUsage: "PATH",
				Flags:  []cli.Flag{jsonFlag()},
				Action: imageShow,
			},
		},
	}
}

func imageWrite(c *cli.Context) error {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	secret := ""
	if c.Bool("passphrase") || c.IsSet("passphrase-file") || c.IsSet("passphrase-fd") {
		if secret, err = passphrase(c, true); err != nil {
			return err
		}
	}
	return change(c, func(s *station.Station) error {
		var g *station.Generation
		var err error
		if n := c.Uint64("generation"); n != 0 {
			g, err = s.Generation(n)
		} else {
			g, err = newest(c, s, "", "")
		}
		if err != nil {
			return err
		}
		m, err := s.Medium(g.Stamp.Generation, secret)
		if err != nil {
			return err
		}
		t := bundle.Target{Path: args[0], Size: bundle.Floppy, Force: c.Bool("force")}
		if c.Bool("usb") {
			t.Size = bundle.USB
		}
		if err := replaceable(t); err != nil {
			return err
		}
		if err := t.Write(m); err != nil {
			return err
		}
		fmt.Fprintf(c.App.Writer, "%s: cluster %s, generation %d, %d bytes\n", args[0], g.Cluster, g.Stamp.Generation, int64(t.Size))
		return sayWhoOpens(c, g, secret != "")
	})
}

// replaceable refuses to replace a file that is no image of ours.
func replaceable(t bundle.Target) error {
	info, err := os.Stat(t.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() || t.Force {
		return nil
	}
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if _, err := bundle.ReadImage(t.Path); err != nil {
		return fmt.Errorf("%s is a file and no image of a station: give another name, or --force to replace it", t.Path)
	}
	return nil
}

func sayWhoOpens(c *cli.Context, g *station.Generation, sealed bool) error {
	conf, err := cluster.Parse("cluster.yaml", g.YAML)
	if err != nil {
		return err
	}
	var own, none []string
	for i := range conf.Directors {
		if m, _ := g.Roster.Machine(conf.Directors[i].Name); m.Age != "" {
			own = append(own, m.Name)
		} else {
			none = append(none, conf.Directors[i].Name)
		}
	}
	if len(own) > 0 {
		fmt.Fprintf(c.App.Writer, "opens with its own key: %s\n", list(own))
	}
	switch {
	case len(none) > 0 && sealed:
		fmt.Fprintf(c.App.Writer, "needs the passphrase: %s\n", list(none))
	case len(none) > 0:
		fmt.Fprintf(c.App.Writer, "CAN'T USE IT: %s: enroll it, or write the image with a passphrase\n", list(none))
	}
	return nil
}

// shown is what image show says as JSON.
type shown struct {
	Cluster    string   `json:"cluster"`
	Generation uint64   `json:"generation"`
	Digest     string   `json:"digest"`
	Author     string   `json:"author"`
	Time       string   `json:"time"` // RFC 3339, UTC
	Note       string   `json:"note"`
	Machines   []string `json:"machines"`
	Sealed     []string `json:"sealed"` // directors that open their secrets by their own key
	Passphrase bool     `json:"passphrase"`
}

func imageShow(c *cli.Context) error {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	s, err := open(c)
	if err != nil {
		return err
	}
	m, err := bundle.ReadImage(args[0])
	if err != nil {
		return err
	}
	b, err := bundle.Open(m.Bundle, m.Signature, s.PublicKey())
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	v := shown{
		Cluster: b.Cluster, Generation: b.Generation, Digest: b.Digest, Author: b.Author,
		Time: b.Time.Format("2006-01-02T15:04:05Z07:00"), Note: b.Note, Passphrase: len(m.Secrets) > 0, Sealed: []string{},
	}
	for _, one := range b.Machines {
		v.Machines = append(v.Machines, one.Node)
	}
	for _, one := range b.Secrets {
		v.Sealed = append(v.Sealed, one.Node)
	}
	if c.Bool("json") {
		return printJSON(c, v)
	}
	fmt.Fprintf(c.App.Writer, "%s: signed by this station\ncluster %s, generation %d, digest %.12s\n%s by %s: %s\nmachines: %s\nopen their secrets with their own key: %s\n",
		args[0], v.Cluster, v.Generation, v.Digest, localTime(b.Time), printable(v.Author), printable(cmp.Or(v.Note, "no note")), list(v.Machines), list(v.Sealed))
	if v.Passphrase {
		fmt.Fprintln(c.App.Writer, "a passphrase opens all secrets")
	}
	if g, err := s.Newest(); err == nil && g.Stamp.Generation > b.Generation {
		fmt.Fprintf(c.App.Writer, "OLD: the newest generation is %d; machines that are on a newer one refuse this medium\n", g.Stamp.Generation)
	}
	return nil
}
