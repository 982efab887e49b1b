package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
)

const barWidth = 24

// table is the live part: requests by family and by server.
func (f *stage) table(s *screen, tallies map[farm.Family]*tally, elapsed time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s\n", s.dim(fmt.Sprintf("%-8s%-*s %9s %7s %9s %9s", "requests", barWidth+2, "", "answered", "failed", "p50", "p99")))
	all := map[farm.Family]figures{}
	total, busiest := 0, 0
	for _, fam := range f.Families {
		t := tallies[fam].figures()
		all[fam] = t
		total += t.done
		failed := fmt.Sprintf("%7d", t.failed)
		if t.failed > 0 {
			failed = s.red(failed)
		}
		fmt.Fprintf(&b, "  %-8s%s  %9s %s %9s %9s\n", fam, s.blue(bar(t.done, t.want, barWidth)),
			fmt.Sprintf("%d/%d", t.done, t.want), failed, ms(t.p50), ms(t.p99))
	}
	fmt.Fprintf(&b, "  %s\n", s.dim(fmt.Sprintf("%-8s%-*s %9s", "served by", barWidth+1, "", "share")))
	for _, n := range f.EPS {
		for _, t := range all {
			busiest = max(busiest, f.served(all, n.Name()), t.byServer[n.Name()])
		}
	}
	for _, n := range f.EPS {
		count := f.served(all, n.Name())
		share := 0.0
		if total > 0 {
			share = 100 * float64(count) / float64(total)
		}
		var each []string
		for _, fam := range f.Families {
			each = append(each, fmt.Sprintf("%s %d", fam, all[fam].byServer[n.Name()]))
		}
		fmt.Fprintf(&b, "  %-8s%s  %8.1f%%   %s\n", n.Name(), s.green(bar(count, busiest, barWidth)), share, s.dim(strings.Join(each, ", ")))
	}
	if elapsed > 0 {
		fmt.Fprintf(&b, "  %s\n", s.dim(fmt.Sprintf("%d answers in %.1f s, %.0f a second, each on a connection of its own",
			total, elapsed.Seconds(), float64(total)/elapsed.Seconds())))
	}
	return b.String()
}

func (f *stage) served(all map[farm.Family]figures, server string) (n int) {
	for _, t := range all {
		n += t.byServer[server]
	}
	return n
}

func ms(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// show is one proof as it is printed.
func (p *proof) show(s *screen) string {
	var b strings.Builder
	mark := s.green("✓")
	if p.err != nil {
		mark = s.red("✗")
	}
	fmt.Fprintf(&b, "  %s %s\n", mark, p.says)
	for _, line := range p.saw {
		fmt.Fprintf(&b, "      %s\n", s.dim(line))
	}
	if p.err != nil {
		fmt.Fprintf(&b, "      %s\n", s.red(p.err.Error()))
	}
	return b.String()
}

// books is what the active director counted, in its own words.
func (f *stage) books(ctx context.Context, s *screen) string {
	out, err := f.Forward(ctx, 0, "list", "-n", "--stats")
	if err != nil {
		return ""
	}
	text := "\n  " + f.EDS[0].Name() + "# svm-fwd list -n --stats\n"
	for line := range strings.Lines(out) {
		text += "  " + s.dim(strings.TrimRight(line, " \n")) + "\n"
	}
	return text + "\n"
}
