package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/svm-cluster/svm/ems/station"
	"github.com/urfave/cli/v2"
)

func historyCommand() *cli.Command {
	return &cli.Command{
		Name: "history", Usage: "the generations: number, time (local), author, note; the newest first",
		Flags: []cli.Flag{jsonFlag(), &cli.IntFlag{Name: "last", Aliases: []string{"n"}, Usage: "only the last `NUMBER` generations (0: all)"}},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			all, err := s.Generations()
			if err != nil {
				return err
			}
			j, err := s.Journal()
			if err != nil {
				return err
			}
			if n := c.Int("last"); n > 0 && n < len(all) {
				all = all[len(all)-n:]
			}
			slices.Reverse(all)
			if c.Bool("json") {
				return printJSON(c, struct {
					Generations []station.Record `json:"generations"`
					Push        *station.Journal `json:"push"`
				}{all, j})
			}
			return printHistory(c, all, j)
		},
	}
}

func printHistory(c *cli.Context, all []station.Record, j *station.Journal) error {
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "GENERATION\tTIME\tAUTHOR\tDELIVERED\tNOTE")
	for _, r := range all {
		note := printable(r.Note)
		if r.Of != 0 {
			note = fmt.Sprintf("back to %d: %s", r.Of, cmp.Or(note, "no note"))
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", r.Stamp.Generation, localTime(r.Time), printable(r.Author), delivered(r.Stamp.Generation, j), cmp.Or(note, "-"))
	}
	return w.Flush()
}

// delivered says what the last push did with generation n.
func delivered(n uint64, j *station.Journal) string {
	switch {
	case j == nil:
		return "-"
	case n == j.Generation && j.Outcome != station.Delivered:
		return string(j.Outcome)
	case n == j.Delivered:
		return "yes"
	}
	return "-"
}

func localTime(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func showCommand() *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "print a generation's cluster file, as it was committed", ArgsUsage: "[N]",
		Description: "The newest one's if no N is given: svm-ems show > cluster.yaml",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 0, 1)
			if err != nil {
				return err
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			g, err := generation(s, args)
			if err != nil {
				return err
			}
			_, err = c.App.Writer.Write(g.YAML)
			return err
		},
	}
}

// generation is the one that args name, or the newest one.
func generation(s *station.Station, args []string) (*station.Generation, error) {
	if len(args) == 0 {
		return s.Newest()
	}
	n, err := number(args[0])
	if err != nil {
		return nil, err
	}
	return s.Generation(n)
}

func number(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%.40q is no generation: want a number from svm-ems history", text)
	}
	return n, nil
}

func rollbackCommand() *cli.Command {
	return &cli.Command{
		Name: "rollback", Usage: "make a new generation with the cluster file of generation N",
		ArgsUsage:   "N",
		Description: "Keys and enrolled machines stay today's. Machines see it with the next push, or now with\n--push.",
		Flags:       append([]cli.Flag{noteFlag(), &cli.BoolFlag{Name: "push", Usage: "deliver it at once, with the options of push"}}, pushFlags()...),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			n, err := number(args[0])
			if err != nil {
				return err
			}
			return change(c, func(s *station.Station) error {
				g, made, err := s.Rollback(n, station.Change{Author: author(), Note: c.String("note")})
				if err != nil {
					return err
				}
				if made {
					fmt.Fprintf(c.App.Writer, "generation %d has the cluster file of generation %d\n", g.Stamp.Generation, n)
				} else {
					sayCommitted(c.App.Writer, g, false)
				}
				if !c.Bool("push") {
					return nil
				}
				return deliver(c, s, g)
			})
		},
	}
}
