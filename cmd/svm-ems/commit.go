package main

import (
	"cmp"
	"fmt"
	"io"
	"os"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/station"
	"github.com/urfave/cli/v2"
)

func commitCommand() *cli.Command {
	return &cli.Command{
		Name: "commit", Usage: "make a cluster file the newest generation, without delivering it",
		ArgsUsage:   "FILE",
		Description: "push FILE does this too. Nothing is made if neither the file nor the enrolled machines\nhave changed.",
		Flags: []cli.Flag{
			noteFlag(),
			&cli.Uint64Flag{Name: "at-least", Usage: "the generation's `NUMBER`, if the next one is lower: for a station restored from an old backup"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			yaml, err := readCluster(args[0])
			if err != nil {
				return err
			}
			return change(c, func(s *station.Station) error {
				g, made, err := s.Commit(args[0], yaml, station.Change{Author: author(), Note: c.String("note"), AtLeast: c.Uint64("at-least")})
				if err != nil {
					return err
				}
				sayCommitted(c.App.Writer, g, made)
				return nil
			})
		},
	}
}

func sayCommitted(w io.Writer, g *station.Generation, made bool) {
	if !made {
		fmt.Fprintf(w, "nothing has changed since generation %d (%s)\n", g.Stamp.Generation, printable(cmp.Or(g.Note, "no note")))
		return
	}
	fmt.Fprintf(w, "generation %d of cluster %s, digest %.12s\n", g.Stamp.Generation, g.Cluster, g.Digest)
}

// readCluster reads a cluster file's bytes, not too many of them.
func readCluster(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cluster file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, cluster.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("cluster file: %w", err)
	}
	return b, nil
}

// newest makes file's contents the newest generation, or, without a file, the newest
// one's with today's roster.
func newest(c *cli.Context, s *station.Station, file, note string) (*station.Generation, error) {
	var yaml []byte
	var err error
	name := file
	if file != "" {
		yaml, err = readCluster(file)
	} else {
		var g *station.Generation
		if g, err = s.Newest(); err == nil {
			yaml, name = g.YAML, fmt.Sprintf("generation %d", g.Stamp.Generation)
			if note == "" && c.Bool("again") {
				note = "delivered again"
			}
			note = cmp.Or(note, "the same file; keys of machines, secrets or SVM itself have changed")
		}
	}
	if err != nil {
		return nil, err
	}
	g, made, err := s.Commit(name, yaml, station.Change{Author: author(), Note: note, Again: c.Bool("again")})
	if err == nil && made {
		sayCommitted(c.App.Writer, g, made)
	}
	return g, err
}
