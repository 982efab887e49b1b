package main

import (
	"context"
	"fmt"
	"maps"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/plan"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/render"
	"github.com/svm-cluster/svm/ems/station"
	"github.com/urfave/cli/v2"
)

func planCommand() *cli.Command {
	return &cli.Command{
		Name: "plan", Usage: "show what a push would change on each machine, and which connections would break; change nothing",
		ArgsUsage: "[FILE]",
		Description: "FILE is what would be pushed; the newest generation if none is given. Machines are asked what\n" +
			"they are on, the active director for its connections. With --offline they are taken to be on\n" +
			"the generation that was delivered last, and connections aren't counted.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "offline", Usage: "ask no machine"},
			&cli.Uint64Flag{Name: "from", Usage: "compare with generation `NUMBER`, whatever the machines are on"},
			fullFlag(), colorFlag(),
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 0, 1)
			if err != nil {
				return err
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			file := ""
			if len(args) == 1 {
				file = args[0]
			}
			return showPlan(c, s, file)
		},
	}
}

// showPlan is plan, and push --dry-run.
func showPlan(c *cli.Context, s *station.Station, file string) error {
	newest, err := s.Newest()
	if err != nil {
		return err
	}
	yaml, name := newest.YAML, fmt.Sprintf("generation %d", newest.Stamp.Generation)
	if file != "" {
		if yaml, err = readCluster(file); err != nil {
			return err
		}
		name = file
	}
	d, err := s.Draft(name, yaml)
	if err != nil {
		return err
	}
	is, err := is(c, s)
	if err != nil {
		return err
	}
	old, err := is.configs(s, d)
	if err != nil {
		return err
	}
	now, err := configs(d.Input, d.Secrets)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "%s, compared with %s\n", name, is.words)
	changes := plan.Compare(old, byNode(now))
	if !c.Bool("full") {
		brief(changes)
	}
	if err := plan.Write(c.App.Writer, changes, colored(c)); err != nil {
		return err
	}
	var before *cluster.Cluster
	if is.base != nil {
		if before, err = cluster.Parse("cluster.yaml", is.base.YAML); err != nil {
			return err
		}
	}
	if before != nil {
		fmt.Fprintln(c.App.Writer, "\nconnections:")
		if err := plan.WriteMoves(c.App.Writer, plan.Predict(before, d.Cluster, is.counts), colored(c)); err != nil {
			return err
		}
	}
	for _, note := range append(is.notes, unknown(d)...) {
		fmt.Fprintln(c.App.Writer, note)
	}
	return nil
}

func fullFlag() cli.Flag {
	return &cli.BoolFlag{Name: "full", Usage: "show the files of machines that have none yet, too"}
}

// brief leaves out what the files of a machine say that comes or goes: all of it is new,
// or old.
func brief(changes []plan.MachineChange) {
	for i := range changes {
		if k := changes[i].Change; k != plan.Added && k != plan.Removed {
			continue
		}
		for j := range changes[i].Files {
			changes[i].Files[j].Diff = ""
		}
	}
}

func byNode(all []*render.Config) map[string]*render.Config {
	m := make(map[string]*render.Config, len(all))
	for _, c := range all {
		m[c.Node] = c
	}
	return m
}

// state is what the farm is on before a push.
type state struct {
	base   *station.Generation // of the machines that didn't say; nil: nothing
	words  string              // what base is
	on     map[string]uint64   // generations of those that did, 0: bare
	counts []plan.Count        // of the active director
	notes  []string
}

// is finds out what the farm is on.
func is(c *cli.Context, s *station.Station) (*state, error) {
	at := &state{on: map[string]uint64{}}
	var err error
	j, err := s.Journal()
	if err != nil {
		return nil, err
	}
	switch n := c.Uint64("from"); {
	case n != 0:
		if at.base, err = s.Generation(n); err != nil {
			return nil, err
		}
		at.words = fmt.Sprintf("generation %d", n)
		if c.Bool("offline") {
			return at, nil
		}
	case j != nil && j.Delivered != 0:
		if at.base, err = s.Generation(j.Delivered); err != nil {
			return nil, err
		}
		at.words = fmt.Sprintf("generation %d, delivered last", j.Delivered)
	default:
		at.words = "nothing: no push has ended well yet (--from N compares with a generation)"
	}
	if c.Bool("offline") {
		return at, nil
	}
	newest, err := s.Newest()
	if err != nil {
		return nil, err
	}
	p, err := pushPlan(c, s, newest)
	if err != nil {
		return nil, err
	}
	return at, at.ask(c.Context, s, p, c.Uint64("from") != 0)
}

// ask has the machines say what they are on; fixed leaves the base as it is.
func (at *state) ask(ctx context.Context, s *station.Station, p push.Plan, fixed bool) error {
	asked, silent := 0, []string{}
	for _, h := range gather(ctx, p) {
		if h.Report == nil {
			silent = append(silent, h.Node)
			continue
		}
		asked++
		if h.Report.Health != nil && h.Report.Health.Role == "active" {
			at.counts = counts(h.Report.Health)
		}
		n := uint64(0)
		if h.Report.Current != nil {
			n = h.Report.Current.Generation
		}
		if !fixed {
			at.on[h.Node] = n
		}
		if h.Report.Health != nil && h.Report.Health.Role == "active" && n != 0 && !fixed {
			// Connections are those of the file that the active director forwards by.
			if g, err := s.Generation(n); err == nil {
				at.base = g
			} else {
				at.notes = append(at.notes, fmt.Sprintf("%s is on generation %d, which this station doesn't have", h.Node, n))
			}
		}
	}
	if asked > 0 && !fixed {
		at.words = "what the machines are on"
	}
	if len(silent) > 0 {
		on := "on nothing yet"
		if at.base != nil {
			on = fmt.Sprintf("on generation %d", at.base.Stamp.Generation)
		}
		at.notes = append(at.notes, fmt.Sprintf("not heard, so taken to be %s: %s", on, list(silent)))
	}
	return ctx.Err()
}

func counts(h *push.Health) (all []plan.Count) {
	for _, s := range h.Services {
		for _, b := range s.Backends {
			all = append(all, plan.Count{Service: s.Name, Server: b.Name, Connections: b.Connections})
		}
	}
	return all
}

// configs are the files that the machines have now, those of d's secrets where they are
// the same.
func (at *state) configs(s *station.Station, d *station.Draft) (map[string]*render.Config, error) {
	byGeneration := map[uint64]map[string]*render.Config{}
	of := func(g *station.Generation) (map[string]*render.Config, error) {
		n := g.Stamp.Generation
		if byGeneration[n] == nil {
			secrets, err := s.Secrets(n)
			if err != nil {
				return nil, err
			}
			all, err := configs(g.Input(), secrets)
			if err != nil {
				return nil, err
			}
			byGeneration[n] = byNode(all)
		}
		return byGeneration[n], nil
	}
	old := map[string]*render.Config{}
	if at.base != nil {
		all, err := of(at.base)
		if err != nil {
			return nil, err
		}
		maps.Copy(old, all)
	}
	for node, n := range at.on {
		delete(old, node)
		if n == 0 {
			continue
		}
		g, err := s.Generation(n)
		if err != nil {
			continue // said in the notes
		}
		all, err := of(g)
		if err != nil {
			return nil, err
		}
		if all[node] != nil {
			old[node] = all[node]
		}
	}
	return old, nil
}
