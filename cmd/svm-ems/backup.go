package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/svm-cluster/svm/ems/station"
	"github.com/urfave/cli/v2"
)

func backupCommand() *cli.Command {
	return &cli.Command{
		Name: "backup", Usage: "write all of the station into one encrypted file",
		ArgsUsage: "FILE",
		Description: "Keys, machines, and every generation, encrypted with age by a passphrase: whoever has both\n" +
			"can rule the farm. Make one after each push and keep it elsewhere. FILE is replaced whole or\nnot at all.",
		Flags: passphraseFlags(),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			// Asked for first: nobody is kept waiting while an operator thinks.
			p, err := passphrase(c, true)
			if err != nil {
				return err
			}
			return change(c, func(s *station.Station) error {
				size, err := writeBackup(args[0], func(w io.Writer) error { return s.Backup(w, p) })
				if err != nil {
					return err
				}
				g, err := s.Newest()
				if err != nil {
					return err
				}
				fmt.Fprintf(c.App.Writer, "%s: cluster %s with all generations to %d, %d bytes\n", args[0], g.Cluster, g.Stamp.Generation, size)
				return nil
			})
		},
	}
}

// writeBackup replaces path by what write writes; it syncs before it renames.
func writeBackup(path string, write func(io.Writer) error) (size int64, err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is no file: give one, on a mounted medium for example", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".svm-backup-*") // 0600
	if err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return 0, err
	}
	if size, err = f.Seek(0, io.SeekCurrent); err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	// Some file systems of media can't sync a directory.
	_ = dir.Sync()
	return size, dir.Close()
}

func restoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "bring a station back from its backup, into an empty state directory",
		ArgsUsage:   "FILE",
		Description: "The directory is --state, before or behind the command.",
		Flags:       append(passphraseFlags(), &cli.StringFlag{Name: "state", Usage: "`DIR` to restore into (default: " + station.DefaultDir + ")"}),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			dir := c.String("state")
			if dir == "" {
				dir = c.Lineage()[1].String("state")
			}
			p, err := passphrase(c, false)
			if err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("backup: %w", err)
			}
			defer f.Close()
			s, err := station.Restore(dir, f, p)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			g, err := s.Newest()
			if err != nil {
				return err
			}
			fmt.Fprintf(c.App.Writer, "%s: cluster %s, generation %d of %s\n", s.Dir(), g.Cluster, g.Stamp.Generation, localTime(g.Time))
			fmt.Fprintln(c.App.Writer, "svm-ems status shows whether the machines are on a newer one")
			return nil
		},
	}
}
