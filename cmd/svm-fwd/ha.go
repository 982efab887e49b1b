package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/svm-cluster/svm/ha"
	"github.com/svm-cluster/svm/ha/flowsync"
	"github.com/urfave/cli/v2"
)

func genkeyCommand() *cli.Command {
	return &cli.Command{
		Name: "genkey", Usage: "print a new key for the pair: 64 hex digits",
		Description: "Put it into a file of mode 0600, the same on both directors, and name that as\nha.key_file in the cluster file.",
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			_, err := fmt.Fprint(c.App.Writer, ha.GenerateKey())
			return err
		},
	}
}

func haCommand() *cli.Command {
	sub := func(name, usage, description string, ask func(*control.Client, context.Context) (control.PairStatus, error)) *cli.Command {
		return asks(&cli.Command{
			Name: name, Usage: usage, Description: description,
			Flags: []cli.Flag{jsonFlag()},
			Action: func(c *cli.Context) error {
				if _, err := arguments(c, 0, 0); err != nil {
					return err
				}
				p, err := ask(client(c), c.Context)
				if err != nil {
					return err
				}
				if c.Bool("json") {
					return printJSON(c, p)
				}
				return printPair(c.App.Writer, &p, time.Now())
			},
		})
	}
	return &cli.Command{
		Name: "ha", Usage: "the pair of directors",
		Subcommands: []*cli.Command{
			sub("show", "who is active, why, and what is known of the other one", "", (*control.Client).Pair),
			sub("takeover", "make this director the active one",
				"Returns when the role was taken. It stays until the other one is told to take over,\nthis one is released, or starts anew.", takeover),
			sub("release", "give the role to the other director",
				"Returns when the other one has it. It comes back by takeover, or when nobody else is active.", release),
		},
	}
}

// roleWithin is how long a change of role may take: a few intervals.
const roleWithin = 10 * time.Second

func takeover(c *control.Client, ctx context.Context) (control.PairStatus, error) {
	p, err := c.Takeover(ctx)
	if err != nil {
		return p, err
	}
	return awaitRole(c, ctx, ha.Active)
}

func release(c *control.Client, ctx context.Context) (control.PairStatus, error) {
	before, err := c.Pair(ctx)
	if err != nil {
		return before, err
	}
	p, err := c.Release(ctx)
	if err != nil || before.HA.Role != ha.Active.String() {
		return p, err
	}
	p, err = awaitRole(c, ctx, ha.Backup)
	if err != nil {
		err = fmt.Errorf("%w: is the other director up, and does it hear this one? (svm-fwd ha show, on both)", err)
	}
	return p, err
}

// awaitRole asks until the director has the role.
func awaitRole(c *control.Client, ctx context.Context, want ha.State) (control.PairStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, roleWithin)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		p, err := c.Pair(ctx)
		if err == nil && p.HA.Role == want.String() {
			return p, nil
		}
		select {
		case <-ctx.Done():
			return p, errors.Join(fmt.Errorf("still %s after %v", p.HA.Role, roleWithin), err)
		case <-tick.C:
		}
	}
}

func printPair(w io.Writer, p *control.PairStatus, now time.Time) error {
	h := &p.HA
	fmt.Fprintf(w, "%s for %s: %s\n", h.Role, ago(now, h.Since), h.Why)
	fmt.Fprintf(w, "VRID %d, priority %d", h.VRID, h.Priority)
	if h.Priority != h.Configured {
		fmt.Fprintf(w, " (configured %d)", h.Configured)
	}
	fmt.Fprintf(w, ", advertisements every %v, taken for dead after %v of silence\n", h.Interval, h.DownInterval)
	if !h.Authenticated {
		fmt.Fprintln(w, "NOT AUTHENTICATED: anyone on these networks can take the role, and connections are not copied.\n  mend: svm-fwd genkey > FILE; chmod 600 FILE; set ha.key_file to it, on both directors")
	}
	for _, s := range []struct {
		is   bool
		text string
	}{{h.Released, "released by an operator: svm-fwd ha takeover takes it back"}, {h.Raised, "taken over by an operator"}, {h.Fault != "", "may not be active: " + h.Fault}} {
		if s.is {
			fmt.Fprintln(w, s.text)
		}
	}
	for _, t := range h.Tracks {
		fmt.Fprintf(w, "tracked %s: priority %+d, fault %v\n", t.Name, t.Delta, t.Fault)
	}
	if h.LastReport != "" {
		fmt.Fprintf(w, "last report: %s\n", h.LastReport)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\nHEARD ON\tROLE\tPRIORITY\tINTERVAL\tSEEN")
	for _, name := range sortedKeys(h.Peers) {
		v := h.Peers[name]
		fmt.Fprintf(tw, "%s\t%s\t%d\t%v\t%s ago\n", name, v.Role, v.Priority, v.Interval, ago(now, v.Seen))
	}
	fmt.Fprintln(tw, "\nADVERTISEMENTS\tNUMBER")
	fmt.Fprintf(tw, "sent\t%d\n", h.Sent)
	for _, name := range sortedKeys(h.Received) {
		if n := h.Received[name]; n > 0 {
			fmt.Fprintf(tw, "received: %s\t%d\n", name, n)
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	return printSync(w, p.Sync)
}

func printSync(w io.Writer, s *flowsync.Status) error {
	if s == nil {
		_, err := fmt.Fprintln(w, "\nconnections are not copied")
		return err
	}
	state := "no session with the other director"
	switch {
	case s.Session && s.Active && s.PeerSynced:
		state = "the backup has all of them"
	case s.Session && s.Active:
		state = "the backup is being filled"
	case s.Session && s.Synced:
		state = "this backup has all of them"
	case s.Session:
		state = "this backup is being filled"
	}
	fmt.Fprintf(w, "\nconnections: %s\n", state)
	fmt.Fprintf(w, "  out %d records in %d datagrams (%d bytes), %d resent; in %d records\n", s.RecordsOut, s.DatagramsOut, s.BytesOut, s.Resent, s.RecordsIn)
	if s.Active {
		fmt.Fprintf(w, "  the last change was confirmed after %v\n", s.Lag)
	}
	var refused []string
	for r, n := range s.Refused {
		if n > 0 {
			refused = append(refused, fmt.Sprintf("%s %d", flowsync.Reason(r), n))
		}
	}
	if len(refused) > 0 {
		fmt.Fprintf(w, "  refused: %s\n", strings.Join(refused, ", "))
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
