package push

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// manyBars is how many machines get a line each; the others share one.
const manyBars = 20

// stageOf is how far a step is on a machine's way, of doneStage.
func stageOf(s Step) int64 {
	switch s {
	case Connecting:
		return 1
	case Uploading:
		return 2
	case Staging:
		return 3
	case Switching:
		return 4
	case Confirming:
		return 5
	case Done:
		return doneStage
	}
	return 0
}

const doneStage = 6

// Bars draw a machine's way on a terminal. Failures are printed above them.
type Bars struct {
	p    *mpb.Progress
	mu   sync.Mutex
	each map[string]*line
	rest *line // of the machines without a line of their own
	all  map[string]int64
}

type line struct {
	bar  *mpb.Bar
	mu   sync.Mutex
	text string
}

// StartBars draws on w until Stop. nodes are the machines in the order of their lines.
// The goroutine that draws ends with ctx at the latest.
func StartBars(ctx context.Context, w io.Writer, nodes []string) *Bars {
	b := &Bars{each: map[string]*line{}, all: map[string]int64{}}
	b.p = mpb.NewWithContext(ctx, mpb.WithOutput(w), mpb.WithWidth(40), mpb.WithAutoRefresh())
	for i, n := range nodes {
		if i >= manyBars {
			b.rest = b.line(fmt.Sprintf("%d more", len(nodes)-i), int64(len(nodes)-i)*doneStage)
			break
		}
		b.each[n] = b.line(n, doneStage)
	}
	return b
}

func (b *Bars) line(name string, total int64) *line {
	l := &line{text: string(Waiting)}
	l.bar = b.p.AddBar(total,
		mpb.PrependDecorators(decor.Name(fmt.Sprintf("%-12s", name))),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.text
		})))
	return l
}

// Event moves a machine's bar.
func (b *Bars) Event(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.all[e.Node]
	b.all[e.Node] = stageOf(e.Step)
	text := string(e.Step)
	if e.Step == Uploading && e.Total > 0 {
		text += fmt.Sprintf(" %d%%", 100*e.Done/e.Total)
	}
	l := b.each[e.Node]
	if l != nil {
		l.bar.SetCurrent(b.all[e.Node])
	} else if l = b.rest; l != nil {
		l.bar.IncrInt64(b.all[e.Node] - was)
		text = e.Node + " " + text
	} else {
		return
	}
	l.mu.Lock()
	l.text = text
	l.mu.Unlock()
	if e.Error != "" {
		fmt.Fprintf(b.p, "%s: %s: %s\n", e.Node, e.Step, plain(e.Error))
	}
}

// Stop leaves the last drawing on the terminal and ends.
func (b *Bars) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.each {
		l.bar.Abort(false)
	}
	if b.rest != nil {
		b.rest.bar.Abort(false)
	}
	b.p.Wait()
}
