package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/station"
	"github.com/urfave/cli/v2"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "ask every machine what it is on and how it is; exit 1 if something is wrong",
		Description: "CLOCK is how far a machine's clock is ahead of this one, give or take what the way there\n" +
			"took. Files that aren't what was delivered are named below the table.",
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "again and again, until interrupted"},
			&cli.DurationFlag{Name: "interval", Usage: "pause between two looks, with --watch, as a `DURATION`", Value: 2 * time.Second},
		},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			if !c.Bool("watch") {
				return showStatus(c, s, "")
			}
			tick := time.NewTicker(max(c.Duration("interval"), 100*time.Millisecond))
			defer tick.Stop()
			for {
				clear := ""
				if _, ok := terminal(c.App.Writer); ok {
					clear = "\x1b[H\x1b[2J"
				}
				err := showStatus(c, s, clear)
				if c.Context.Err() != nil {
					return nil // interrupted: that is how it ends
				}
				if err != nil && err != errSaid {
					return err
				}
				select {
				case <-c.Context.Done():
					return nil
				case <-tick.C:
				}
			}
		},
	}
}

// farmStatus is status as JSON.
type farmStatus struct {
	Cluster  string           `json:"cluster"`
	Newest   uint64           `json:"newest"`   // generation
	Operator *station.Owner   `json:"operator"` // who is changing the station now
	Push     *station.Journal `json:"push"`     // the last one
	Machines []machineStatus  `json:"machines"` // directors first
	Well     bool             `json:"well"`     // nothing is wrong anywhere
}

type machineStatus struct {
	Node   string       `json:"node"`
	Kind   string       `json:"kind"`
	Well   bool         `json:"well"`
	Error  string       `json:"error,omitempty"` // why there is no report
	Report *push.Report `json:"report"`
	// Clock is how many seconds its clock is ahead, give or take ClockWithin.
	Clock       float64 `json:"clock,omitempty"`
	ClockWithin float64 `json:"clock_within,omitempty"`
}

func showStatus(c *cli.Context, s *station.Station, clear string) error {
	g, err := s.Newest()
	if err != nil {
		return err
	}
	p, err := pushPlan(c, s, g)
	if err != nil {
		return err
	}
	st := farmStatus{Cluster: g.Cluster, Newest: g.Stamp.Generation, Well: true}
	if o, held, err := s.LockOwner(); err != nil {
		return err
	} else if held {
		st.Operator = &o
	}
	if st.Push, err = s.Journal(); err != nil {
		return err
	}
	for _, h := range gather(c.Context, p) {
		m := machineStatus{Node: h.Node, Kind: string(h.Kind), Error: h.Error, Report: h.Report}
		if h.Report != nil {
			m.Clock, m.ClockWithin = h.Skew.Seconds(), h.Within.Seconds()
		}
		m.Well = wrong(&m, st.Newest) == ""
		st.Well = st.Well && m.Well
		st.Machines = append(st.Machines, m)
	}
	if c.Bool("json") {
		err = printJSON(c, st)
	} else {
		err = printStatus(c.App.Writer, &st, clear)
	}
	if err == nil && !st.Well {
		err = errSaid
	}
	return err
}

// maxSkew is how far clocks may be apart; logs are hard to read beyond.
const maxSkew = 2 * time.Second

// wrong is what is wrong with a machine, in a few words; empty: nothing.
func wrong(m *machineStatus, newest uint64) string {
	r := m.Report
	switch {
	case r == nil:
		return "not heard"
	case r.Current == nil:
		return "not configured"
	case r.Phase != "settled":
		return "push not ended"
	case r.Current.Generation < newest:
		return "behind"
	case r.Current.Generation > newest:
		return "ahead of this station"
	case len(r.Drift) > 0:
		return "changed by hand"
	case r.Health != nil && len(r.Health.Problems) > 0:
		return count(len(r.Health.Problems), "problem")
	case r.Health != nil && down(r.Health) > 0:
		return fmt.Sprintf("%d down", down(r.Health))
	case skewed(m):
		return "clock is wrong"
	}
	return ""
}

func skewed(m *machineStatus) bool {
	return max(m.Clock, -m.Clock)-m.ClockWithin > maxSkew.Seconds()
}

// down counts the backends that get no new connection though they should.
func down(h *push.Health) (n int) {
	for _, s := range h.Services {
		for _, b := range s.Backends {
			if !b.Up && b.Weight > 0 {
				n++
			}
		}
	}
	return n
}

func printStatus(w io.Writer, st *farmStatus, clear string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%scluster %s, generation %d is the newest\n", clear, st.Cluster, st.Newest)
	if st.Operator != nil {
		fmt.Fprintf(&b, "locked by %s\n", printable(st.Operator.String()))
	}
	switch j := st.Push; {
	case j == nil:
		b.WriteString("nothing was pushed yet\n")
	case j.Outcome == station.Running && st.Operator == nil:
		fmt.Fprintf(&b, "the push of generation %d was interrupted at %s or later: push again\n", j.Generation, localTime(j.Started))
	case j.Outcome == station.Running:
		fmt.Fprintf(&b, "generation %d is being pushed since %s\n", j.Generation, localTime(j.Started))
	default:
		fmt.Fprintf(&b, "the last push, of generation %d, at %s: %s\n", j.Generation, localTime(j.Ended), j.Outcome)
	}
	b.WriteByte('\n')
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MACHINE\tROLE\tGENERATION\tPHASE\tDRIFT\tHEALTH\tVERSION\tCLOCK")
	for i := range st.Machines {
		row(t, &st.Machines[i], st.Newest)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	table := b.Len()
	for i := range st.Machines {
		details(&b, &st.Machines[i])
	}
	text := b.String()
	if len(text) > table {
		text = text[:table] + "\n" + text[table:]
	}
	_, err := io.WriteString(w, text)
	return err
}

func row(w io.Writer, m *machineStatus, newest uint64) {
	role := "real server"
	if m.Kind == "director" {
		role = "director"
	}
	r := m.Report
	if r == nil {
		fmt.Fprintf(w, "%s\t%s\t-\t-\t-\t%s\t-\t-\n", m.Node, role, wrong(m, newest))
		return
	}
	if r.Health != nil && r.Health.Role != "" {
		role = printable(r.Health.Role)
	}
	generation, drift := "-", "none"
	if r.Current != nil {
		generation = fmt.Sprint(r.Current.Generation)
	}
	if n := len(r.Drift); n > 0 {
		drift = count(n, "file")
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.Node, role, generation, printable(string(r.Phase)), drift,
		cmp.Or(wrong(m, newest), "well"), printable(cmp.Or(r.Version, "-")), clock(m))
}

// clock is "+3.2s", or "ok" where the difference may be the way's.
func clock(m *machineStatus) string {
	if max(m.Clock, -m.Clock) <= m.ClockWithin+0.05 {
		return "ok"
	}
	return fmt.Sprintf("%+.1fs", m.Clock)
}

// details says in full what the table has no room for.
func details(b *strings.Builder, m *machineStatus) {
	say := func(format string, args ...any) {
		text := printable(fmt.Sprintf(format, args...))
		fmt.Fprintf(b, "%s: %s\n", m.Node, strings.TrimPrefix(text, m.Node+": "))
	}
	if m.Error != "" {
		say("%s", m.Error)
	}
	r := m.Report
	if r == nil {
		return
	}
	for _, d := range r.Drift {
		say("%s: %s", d.Path, d.Problem)
	}
	if r.Health == nil {
		return
	}
	for _, p := range r.Health.Problems {
		say("%s", p)
	}
	for _, s := range r.Health.Services {
		for _, v := range s.Backends {
			if !v.Up && v.Weight > 0 {
				say("%s/%s is down: %s", s.Name, v.Name, cmp.Or(v.Reason, "no reason known"))
			}
		}
	}
}
