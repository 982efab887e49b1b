package push

import (
	"fmt"
	"io"
	"sync"
)

// Lines prints one plain line for each new step of a machine: for logs and pipes.
type Lines struct {
	w    io.Writer
	mu   sync.Mutex
	last map[string]Event
}

// NewLines makes Lines that print to w, whose errors are ignored.
func NewLines(w io.Writer) *Lines { return &Lines{w: w, last: map[string]Event{}} }

// Event prints e unless it only repeats the last one.
func (l *Lines) Event(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.last[e.Node]
	l.last[e.Node] = e
	if was.Step == e.Step && was.Error == e.Error {
		return
	}
	text := string(e.Step)
	if e.Total > 0 {
		text += fmt.Sprintf(" %d bytes", e.Total)
	}
	if e.Error != "" {
		text += ": " + plain(e.Error)
	}
	fmt.Fprintf(l.w, "%-12s %s\n", e.Node, text)
}
