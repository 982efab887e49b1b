package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/urfave/cli/v2"
)

func statusCommand() *cli.Command {
	return asks(&cli.Command{
		Name: "status", Usage: "how the director is, for a person",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			s, err := client(c).Status(c.Context)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(c, s)
			}
			return printStatus(c.App.Writer, &s, time.Now())
		},
	})
}

func printStatus(w io.Writer, s *control.Status, now time.Time) error {
	fmt.Fprintf(w, "%s of cluster %s: %s, up %s, version %s\n", s.Node, s.Cluster, s.Role, ago(now, s.Started), s.Version)
	fmt.Fprintf(w, "configuration %.12s, taken over %s ago\n", s.Digest, ago(now, s.Configured))
	if s.Rejected != "" {
		fmt.Fprintf(w, "LAST RELOAD REFUSED: %s\n", strings.ReplaceAll(s.Rejected, "\n", "\n  "))
	}
	t := s.Table
	fmt.Fprintf(w, "table: %d of %d entries (%s), %d half-open of at most %d", t.Used, t.Size, percent(t.Used, t.Size), t.HalfOpen, t.HalfOpenBound)
	if t.Recovered > 0 {
		fmt.Fprintf(w, ", %d recovered at start", t.Recovered)
	}
	if t.StateFile == "" {
		fmt.Fprint(w, ", in memory only")
	} else {
		fmt.Fprintf(w, ", in %s", t.StateFile)
	}
	fmt.Fprintln(w)

	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\nSERVICE\tSERVER\tADDRESS\tSTATE\tWEIGHT\tACTIVE\tINACTIVE\tCONN/S\tPKT/S")
	for _, v := range s.Services {
		for _, b := range v.Servers {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%.1f\t%.0f\n", v.Name, b.Name, b.Address, b.State, b.Weight, b.Active, b.Inactive, b.Rates.Connections, b.Rates.Packets)
		}
	}
	fmt.Fprintln(tw, "\nNEIGHBOUR\tMAC\tSTATE\tSEEN\tMAC CHANGES")
	for _, n := range s.Neighbours {
		seen := "never"
		if !n.LastSeen.IsZero() {
			seen = ago(now, n.LastSeen) + " ago"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\n", n.Address, cmp.Or(n.MAC, "-"), n.State, seen, n.Changes)
	}
	fmt.Fprintln(tw, "\nWORKER\tRECEIVED\tSENT\tREPLIES\tRING DROPS\tTRUNCATED\tBUSY\tTOO LONG\tERRORS")
	reasons := map[string]uint64{}
	for i, k := range s.Workers {
		fmt.Fprintf(tw, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", i, k.Received, k.Sent, k.Replies, k.Dropped, k.Truncated, k.Busy, k.TooLong, k.Errors)
		for r, n := range k.Reasons {
			reasons[r] += n
		}
	}
	if len(reasons) > 0 {
		fmt.Fprintln(tw, "\nREASON\tFRAMES")
		for _, r := range slices.SortedFunc(maps.Keys(reasons), func(a, b string) int {
			return cmp.Or(cmp.Compare(reasons[b], reasons[a]), strings.Compare(a, b))
		}) {
			fmt.Fprintf(tw, "%s\t%d\n", r, reasons[r])
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, f := range s.Conflicts {
		fmt.Fprintf(w, "\nCONFLICT: %s also answers for %s on %s, %d times, last %s ago: find that host and take the address off it, or run svm-rs apply there\n",
			f.MAC, f.VIP, f.Device, f.Count, ago(now, f.Last))
	}
	return nil
}

func percent(n, of int) string {
	if of == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of))
}

// ago writes how long ago something was, to the second.
func ago(now, then time.Time) string {
	return now.Sub(then).Round(time.Second).String()
}
