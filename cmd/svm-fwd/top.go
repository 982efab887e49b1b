package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

func topCommand() *cli.Command {
	return asks(&cli.Command{
		Name: "top", Usage: "the servers' traffic, refreshed; Ctrl-C ends it",
		Description: "Rates are those of the last interval. On a terminal the table stays in its place,\n" +
			"elsewhere one follows the other.",
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "interval", Usage: "`TIME` between two looks, such as 500ms or 2s", Value: time.Second},
			&cli.IntFlag{Name: "count", Usage: "end after `N` tables (0: never)"},
		},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			every := c.Duration("interval")
			if every < 100*time.Millisecond {
				return errors.New("--interval: want at least 100ms")
			}
			return top(c, every, c.Int("count"), term.IsTerminal(int(os.Stdout.Fd())))
		},
	})
}

// home puts the cursor into the upper left corner and clears the screen.
const home = "\x1b[H\x1b[2J"

func top(c *cli.Context, every time.Duration, count int, screen bool) error {
	ask := client(c)
	was, err := ask.Status(c.Context)
	if err != nil {
		return err
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := time.Now()
	for n := 1; ; n++ {
		select {
		case <-c.Context.Done():
			return nil
		case <-tick.C:
		}
		is, err := ask.Status(c.Context)
		if c.Context.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		now := time.Now()
		// In one piece, so that the screen does not flicker.
		var b bytes.Buffer
		if screen {
			b.WriteString(home)
		}
		printTop(&b, &was, &is, now.Sub(last))
		if _, err := c.App.Writer.Write(b.Bytes()); err != nil {
			return err
		}
		if n == count {
			return nil
		}
		was, last = is, now
	}
}

// printTop prints what happened between two looks.
func printTop(w io.Writer, was, is *control.Status, took time.Duration) {
	fmt.Fprintf(w, "%s %s  table %s of %d  half-open %d of %d  %s\n", is.Node, is.Role, percent(is.Table.Used, is.Table.Size), is.Table.Size,
		is.Table.HalfOpen, is.Table.HalfOpenBound, lost(was, is))
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "SERVICE\tSERVER\tSTATE\tWEIGHT\tACTIVE\tINACTIVE\tCONN/S\tPKT/S\tMBIT/S\tSHARE")
	before := map[[2]string]control.Traffic{}
	for _, s := range was.Services {
		for _, v := range s.Servers {
			before[[2]string{s.Name, v.Name}] = v.Traffic
		}
	}
	for _, s := range is.Services {
		all := 0.0
		moved := make([]control.Traffic, len(s.Servers))
		for i, v := range s.Servers {
			moved[i] = minus(v.Traffic, before[[2]string{s.Name, v.Name}])
			all += float64(moved[i].Packets)
		}
		for i, v := range s.Servers {
			d, per := moved[i], took.Seconds()
			share := 0
			if all > 0 {
				share = int(float64(d.Packets)/all*20 + 0.5)
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%d\t%d\t%.1f\t%.0f\t%.2f\t%s\n", s.Name, v.Name, v.State, weight(&v), v.Active, v.Inactive,
				float64(d.Connections)/per, float64(d.Packets)/per, float64(d.Bytes)*8/1e6/per, strings.Repeat("#", share))
		}
	}
	_ = tw.Flush() // the writer's error comes back from the next write
}

// lost says how many frames were lost between two looks.
func lost(was, is *control.Status) string {
	n := uint64(0)
	for i, k := range is.Workers {
		sum := func(k control.Worker) uint64 { return k.Dropped + k.Truncated + k.Busy + k.TooLong + k.Errors }
		n += sum(k)
		if i < len(was.Workers) {
			n -= min(sum(was.Workers[i]), sum(k))
		}
	}
	return fmt.Sprintf("frames lost %d", n)
}

// minus is 0 where the daemon began anew meanwhile.
func minus(a, b control.Traffic) control.Traffic {
	if a.Connections < b.Connections || a.Packets < b.Packets || a.Bytes < b.Bytes {
		return control.Traffic{}
	}
	return control.Traffic{Connections: a.Connections - b.Connections, Packets: a.Packets - b.Packets, Bytes: a.Bytes - b.Bytes}
}
