package main

import (
	"context"
	"fmt"
	"time"

	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/urfave/cli/v2"
)

func monitorCommand() *cli.Command {
	return asks(&cli.Command{
		Name: "monitor", Usage: "one line for each change: servers, role, configuration, conflicts; Ctrl-C ends it",
		Description: "It goes on when the daemon stops, and says so. What changes and changes back between\n" +
			"two looks is not seen; the daemon's log has it.",
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "interval", Usage: "`TIME` between two looks, such as 200ms", Value: 500 * time.Millisecond},
		},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			every := c.Duration("interval")
			if every <= 0 {
				return fmt.Errorf("--interval: want more than 0, got %s", every)
			}
			return monitor(c, every)
		},
	})
}

func monitor(c *cli.Context, every time.Duration) error {
	ask := client(c)
	was, err := ask.Status(c.Context)
	if err != nil {
		return err
	}
	say := func(at time.Time, lines []string) {
		for _, l := range lines {
			fmt.Fprintf(c.App.Writer, "%s %s\n", at.Format("2006-01-02T15:04:05.000"), l)
		}
	}
	say(time.Now(), []string{fmt.Sprintf("%s is %s, configuration %.12s", was.Node, was.Role, was.Digest)})
	say(time.Now(), idle(&was))
	tick := time.NewTicker(every)
	defer tick.Stop()
	gone := false
	for {
		select {
		case <-c.Context.Done():
			return nil
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(c.Context, 10*time.Second)
		is, err := ask.Status(ctx)
		cancel()
		switch {
		case c.Context.Err() != nil:
			return nil
		case err != nil && !gone:
			gone = true
			say(time.Now(), []string{"the daemon does not answer: " + err.Error()})
		case err == nil:
			if gone {
				gone = false
				say(time.Now(), []string{"the daemon answers again"})
			}
			say(time.Now(), changes(&was, &is))
			was = is
		}
	}
}

// idle names the servers without new connections.
func idle(s *control.Status) (lines []string) {
	for _, v := range s.Services {
		for _, b := range v.Servers {
			if b.State != "ready" {
				lines = append(lines, fmt.Sprintf("%s %s is %s: %s", v.Name, b.Name, b.State, b.Why))
			}
		}
	}
	return lines
}

// changes says how two looks differ.
func changes(was, is *control.Status) (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if !was.Started.Equal(is.Started) {
		say("the daemon was started anew, %d connections recovered", is.Table.Recovered)
	}
	if was.Role != is.Role {
		say("%s is %s now", is.Node, is.Role)
	}
	if was.Digest != is.Digest {
		say("configuration %.12s taken over", is.Digest)
	}
	if was.Rejected != is.Rejected && is.Rejected != "" {
		say("a reload was refused: %s", is.Rejected)
	}
	before := map[[2]string]control.Server{}
	for _, s := range was.Services {
		for _, v := range s.Servers {
			before[[2]string{s.Name, v.Name}] = v
		}
	}
	for _, s := range is.Services {
		for _, v := range s.Servers {
			key := [2]string{s.Name, v.Name}
			old, known := before[key]
			delete(before, key)
			switch {
			case !known:
				say("%s %s is new: %s, weight %d", s.Name, v.Name, v.State, v.Weight)
				continue
			case old.State != v.State && v.Why != "":
				say("%s %s is %s, was %s: %s", s.Name, v.Name, v.State, old.State, v.Why)
			case old.State != v.State:
				say("%s %s is %s, was %s", s.Name, v.Name, v.State, old.State)
			case old.Weight != v.Weight:
				say("%s %s has weight %d, was %d", s.Name, v.Name, v.Weight, old.Weight)
			}
			if old.MAC != "" && v.MAC != "" && old.MAC != v.MAC {
				say("%s %s has another MAC address: %s, was %s", s.Name, v.Name, v.MAC, old.MAC)
			}
		}
	}
	for _, s := range was.Services {
		for _, v := range s.Servers {
			if _, left := before[[2]string{s.Name, v.Name}]; left {
				say("%s %s is gone", s.Name, v.Name)
			}
		}
	}
	conflicts := map[string]uint64{}
	for _, f := range was.Conflicts {
		conflicts[f.VIP] = f.Count
	}
	for _, f := range is.Conflicts {
		if f.Count > conflicts[f.VIP] {
			say("CONFLICT: %s also answers for %s on %s", f.MAC, f.VIP, f.Device)
		}
	}
	return lines
}
