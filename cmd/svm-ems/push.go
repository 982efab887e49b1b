package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/enroll"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/station"
	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"
)

func pushFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "wait", Usage: "wait for machines that can't be reached, as a `DURATION` such as 5m"},
		&cli.StringSliceFlag{Name: "skip", Usage: "leave machine `NAME` alone; it is caught up when it returns; may be repeated"},
		&cli.BoolFlag{Name: "skip-unreachable", Usage: "leave all machines alone that can't be reached"},
		&cli.DurationFlag{Name: "away", Usage: "how long a machine that takes part may be out of reach before the push gives up, as a `DURATION`", Value: 20 * time.Second},
		&cli.DurationFlag{Name: "rollback-timeout", Usage: "how long machines are told to go back before they are left to the next push, as a `DURATION`", Value: time.Minute},
		&cli.DurationFlag{Name: "health-timeout", Usage: "how long all may take to be well after the switch, as a `DURATION`", Value: 30 * time.Second},
		&cli.BoolFlag{Name: "require-up", Usage: "take a service without a live server for a failure even if it had none before"},
		&cli.BoolFlag{Name: "trust-new", Usage: "believe the host keys of machines that aren't enrolled, without proof"},
	}
}

func pushCommand() *cli.Command {
	return &cli.Command{
		Name: "push", Usage: "deliver a generation to every machine: all of them, or none",
		ArgsUsage: "[FILE]",
		Description: "With FILE it is committed first; otherwise the newest generation is delivered. Everything is\n" +
			"staged and checked on all machines, then switched, then confirmed by health; a failure brings\n" +
			"all of them back. A push that was interrupted is taken up by the next one. Without --wait or\n" +
			"--skip a machine that can't be reached stops it before anything is changed.",
		Flags: append([]cli.Flag{
			noteFlag(),
			&cli.BoolFlag{Name: "again", Usage: "make a new generation even if nothing has changed: hand-edited files are put right"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only show the plan"}, fullFlag(), colorFlag(),
		}, pushFlags()...),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 0, 1)
			if err != nil {
				return err
			}
			file := ""
			if len(args) == 1 {
				file = args[0]
			}
			if c.Bool("dry-run") {
				s, err := open(c)
				if err != nil {
					return err
				}
				return showPlan(c, s, file)
			}
			return change(c, func(s *station.Station) error {
				g, err := newest(c, s, file, c.String("note"))
				if err != nil {
					return err
				}
				return deliver(c, s, g)
			})
		},
	}
}

// deliver pushes g; the caller holds the lock. From here on a terminal or a pipe that is
// lost ends nothing: a farm is not left in the middle because an operator's line broke.
func deliver(c *cli.Context, s *station.Station, g *station.Generation) error {
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	if c.Bool("trust-new") {
		learned, err := trustNew(c, s, g)
		if err != nil {
			return err
		}
		if learned {
			if g, err = newest(c, s, "", "host keys believed with --trust-new"); err != nil {
				return err
			}
		}
	}
	p, err := pushPlan(c, s, g)
	if err != nil {
		return err
	}
	p.Policy = push.Policy{Wait: c.Duration("wait"), Skip: c.StringSlice("skip"), SkipAll: c.Bool("skip-unreachable")}
	p.Times.Health, p.Times.Away, p.Times.Rollback = c.Duration("health-timeout"), c.Duration("away"), c.Duration("rollback-timeout")
	p.RequireUp = c.Bool("require-up")
	before, err := s.Journal()
	if err != nil {
		return err
	}
	if p.Times.Watch = watch(s, before, p.Cluster); p.Times.Watch > 0 {
		fmt.Fprintf(c.App.ErrWriter, "health checks change: the servers are watched for %v after the switch\n", p.Times.Watch)
	}
	j, err := begin(s, before, g)
	if err != nil {
		return err
	}
	show, stop := progress(c, p.Cluster)
	res, err := push.Run(c.Context, p, &recorder{journal: j, show: show})
	stop()
	for _, w := range res.Warnings {
		fmt.Fprintf(c.App.ErrWriter, "warning: %s\n", printable(w))
	}
	if jerr := j.end(res, err); jerr != nil {
		err = errors.Join(err, jerr)
	}
	if err != nil {
		return fmt.Errorf("generation %d: %s: %w%s", g.Stamp.Generation, ending(res), err, newer(res, g))
	}
	skipped := []string{}
	for _, m := range res.Machines {
		if m.Report != nil && len(m.Report.Drift) > 0 {
			fmt.Fprintf(c.App.ErrWriter, "warning: %s: %s: %s: svm-ems push --again puts it right\n", m.Node,
				printable(m.Report.Drift[0].Path), printable(m.Report.Drift[0].Problem))
		}
		if m.Step == push.Skipped {
			skipped = append(skipped, m.Node)
		}
	}
	fmt.Fprintf(c.App.Writer, "generation %d: %s to %s\n", g.Stamp.Generation, res.Ending, count(len(res.Machines)-len(skipped), "machine"))
	if len(skipped) > 0 {
		fmt.Fprintf(c.App.Writer, "skipped, and caught up when they return: %s\n", list(skipped))
	}
	return nil
}

// ending says how a push ended; one that stopped before it changed anything had nothing
// to roll back.
func ending(res push.Result) string {
	wentBack := func(m push.Outcome) bool { return m.Step == push.WentBack }
	if res.Ending == push.RolledBack && !slices.ContainsFunc(res.Machines, wentBack) {
		return "not begun, nothing was changed"
	}
	return string(res.Ending)
}

// newer is the remedy where machines have confirmed a newer generation than there is.
func newer(res push.Result, g *station.Generation) string {
	top := uint64(0)
	for _, m := range res.Machines {
		if m.Report != nil && m.Report.Confirmed > top {
			top = m.Report.Confirmed
		}
	}
	if top < g.Stamp.Generation || top >= station.MaxGeneration {
		return ""
	}
	for _, m := range res.Machines {
		if m.Report != nil && m.Report.Current != nil && m.Report.Confirmed == top && *m.Report.Current != g.Stamp {
			return fmt.Sprintf("\nmachines have confirmed generation %d: was this station restored from an older backup? "+
				"svm-ems show > cluster.yaml, compare it with /etc/svm/cluster.yaml on %s, then svm-ems commit cluster.yaml --at-least %d, and push",
				top, m.Node, top+1)
		}
	}
	return ""
}

// progress is how the push is shown: bars on a terminal, else lines.
func progress(c *cli.Context, conf *cluster.Cluster) (push.Progress, func()) {
	w, ok := terminal(c.App.ErrWriter)
	if !ok {
		return push.NewLines(c.App.ErrWriter), func() {}
	}
	var nodes []string
	for _, d := range conf.Directors {
		nodes = append(nodes, d.Name)
	}
	for _, r := range conf.RealServers {
		nodes = append(nodes, r.Name)
	}
	// Not the command's context: what comes after an interrupt is shown, too.
	b := push.StartBars(context.WithoutCancel(c.Context), w, nodes)
	return b, b.Stop
}

// trustNew asks the machines that have no host key in the roster for one.
func trustNew(c *cli.Context, s *station.Station, g *station.Generation) (learned bool, err error) {
	conf, err := cluster.Parse("cluster.yaml", g.YAML)
	if err != nil {
		return false, err
	}
	var targets []push.Target
	for i := range conf.Directors {
		targets = append(targets, push.DirectorTarget(conf, &conf.Directors[i]))
	}
	for i := range conf.RealServers {
		targets = append(targets, push.ServerTarget(conf, &conf.RealServers[i]))
	}
	targets = slices.DeleteFunc(targets, func(t push.Target) bool {
		m, _ := g.Roster.Machine(t.Node)
		return m.HostKey != ""
	})
	keys := make([]ssh.PublicKey, len(targets))
	errs := make([]error, len(targets))
	var wg sync.WaitGroup
	bound := make(chan struct{}, 16)
	for i, t := range targets {
		wg.Go(func() {
			bound <- struct{}{}
			keys[i], errs[i] = push.Scan(c.Context, t.Addr)
			<-bound
		})
	}
	wg.Wait()
	for i, t := range targets {
		if errs[i] != nil {
			fmt.Fprintf(c.App.ErrWriter, "warning: host key of %s: %v\n", t.Node, errs[i])
			continue
		}
		text := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(keys[i])))
		if _, err := s.Enroll(enroll.Line{Name: t.Node, HostKey: text}, false); err != nil {
			return learned, err
		}
		learned = true
		fmt.Fprintf(c.App.ErrWriter, "%s: host key %s, believed without proof\n", t.Node, station.Fingerprint(text))
	}
	return learned, nil
}

// journal keeps push.json.
type journal struct {
	s       *station.Station
	mu      sync.Mutex
	j       station.Journal
	written time.Time
	err     error // the last one of writing it
}

func begin(s *station.Station, before *station.Journal, g *station.Generation) (*journal, error) {
	j := &journal{s: s, j: station.Journal{
		Generation: g.Stamp.Generation, Author: author(), Started: time.Now().UTC().Truncate(time.Second),
		Outcome: station.Running, Machines: map[string]station.JournalMachine{},
	}}
	if before != nil {
		j.j.Delivered = before.Delivered
	}
	return j, s.WriteJournal(&j.j)
}

// often bounds how many times a second the journal is written: each costs a sync.
const often = 200 * time.Millisecond

func (j *journal) event(e push.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	m := station.JournalMachine{Step: string(e.Step), Error: e.Error}
	if j.j.Machines[e.Node] == m {
		return
	}
	j.j.Machines[e.Node] = m
	if time.Since(j.written) > often {
		// A push goes on without its journal: it only tells.
		j.err = j.s.WriteJournal(&j.j)
		j.written = time.Now()
	}
}

func (j *journal) end(res push.Result, err error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.j.Ended = time.Now().UTC().Truncate(time.Second)
	j.j.Outcome = station.Outcome(cmp.Or(res.Ending, push.RolledBack))
	if err != nil {
		j.j.Error = err.Error()
	} else {
		j.j.Delivered = res.Stamp.Generation
	}
	for _, m := range res.Machines {
		j.j.Machines[m.Node] = station.JournalMachine{Step: string(m.Step), Error: m.Error}
	}
	return j.s.WriteJournal(&j.j)
}

// recorder shows progress and writes it down.
type recorder struct {
	journal *journal
	show    push.Progress
}

// Event implements push.Progress.
func (r *recorder) Event(e push.Event) {
	r.show.Event(e)
	r.journal.event(e)
}
