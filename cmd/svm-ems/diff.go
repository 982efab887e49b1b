package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/pmezard/go-difflib/difflib"
	"github.com/svm-cluster/svm/ems/station"
	"github.com/urfave/cli/v2"
)

func diffCommand() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "what differs between the cluster files of two generations",
		ArgsUsage: "[A [B]]",
		Description: "Without arguments: between the newest two. With A: between A and the newest. svm-ems plan\n" +
			"shows what a change does to the machines.",
		Flags: []cli.Flag{colorFlag()},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 0, 2)
			if err != nil {
				return err
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			a, b, err := two(s, args)
			if err != nil {
				return err
			}
			name := func(g *station.Generation) string {
				return fmt.Sprintf("generation %d\t%s", g.Stamp.Generation, localTime(g.Time))
			}
			text := unified(name(a), name(b), string(a.YAML), string(b.YAML))
			if text == "" {
				text = fmt.Sprintf("the cluster files of generations %d and %d are the same\n", a.Stamp.Generation, b.Stamp.Generation)
			}
			printDiff(c.App.Writer, text, colored(c))
			for _, line := range enrolled(a, b) {
				fmt.Fprintln(c.App.Writer, line)
			}
			return nil
		},
	}
}

func two(s *station.Station, args []string) (a, b *station.Generation, err error) {
	if b, err = s.Newest(); err != nil {
		return nil, nil, err
	}
	switch len(args) {
	case 0:
		all, err := s.Generations()
		if err != nil {
			return nil, nil, err
		}
		if len(all) < 2 {
			return nil, nil, fmt.Errorf("there is generation %d only", b.Stamp.Generation)
		}
		a, err = s.Generation(all[len(all)-2].Stamp.Generation)
		return a, b, err
	case 2:
		if b, err = generation(s, args[1:]); err != nil {
			return nil, nil, err
		}
	}
	a, err = generation(s, args[:1])
	return a, b, err
}

// enrolled says whose keys differ.
func enrolled(a, b *station.Generation) (lines []string) {
	for _, m := range b.Roster.Machines {
		old, was := a.Roster.Machine(m.Name)
		switch {
		case old.HostKey == m.HostKey && old.Age == m.Age:
		case !was || old.HostKey == "" && old.Age == "":
			lines = append(lines, fmt.Sprintf("keys of %s: new, host key %s", m.Name, station.Fingerprint(m.HostKey)))
		default:
			lines = append(lines, fmt.Sprintf("keys of %s: changed, host key %s, was %s", m.Name, station.Fingerprint(m.HostKey), station.Fingerprint(old.HostKey)))
		}
	}
	return lines
}

// unified is a unified diff, empty where nothing differs.
func unified(fromName, toName, from, to string) string {
	if from == to {
		return ""
	}
	var b bytes.Buffer
	// A bytes.Buffer can't fail.
	_ = difflib.WriteUnifiedDiff(&b, difflib.UnifiedDiff{
		A: lines(from), B: lines(to), FromFile: fromName, ToFile: toName, Context: 3,
	})
	return b.String()
}

// lines are text's, each with its end; a last one without one says so, as diff does.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	all := strings.SplitAfter(text, "\n")
	if last := len(all) - 1; all[last] == "" {
		all = all[:last]
	} else {
		all[last] += "\n\\ No newline at end of file\n"
	}
	return all
}

// printDiff prints a unified diff, in colours if asked to. What a terminal would obey is
// made visible.
func printDiff(w io.Writer, text string, color bool) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		start, end := "", ""
		if color {
			switch {
			case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
				start = "\x1b[1m"
			case strings.HasPrefix(line, "@@"):
				start = "\x1b[36m"
			case strings.HasPrefix(line, "+"):
				start = "\x1b[32m"
			case strings.HasPrefix(line, "-"):
				start = "\x1b[31m"
			}
			if start != "" {
				end = "\x1b[0m"
			}
		}
		fmt.Fprintf(w, "%s%s%s\n", start, visible(line), end)
	}
}

// visible is printable, with tabs.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
