package cluster

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a cluster file.
type Problem struct {
	File string // as given to Parse or Load
	// Line and Column count from 1, columns in characters; both are 0 when the
	// problem has no place in the file.
	Line, Column int
	Path         string // services[0].servers[1].weight; empty: the file as a whole
	Text         string // what is wrong, and what would be right
}

// Error is the whole line, place first, as editors and CI systems can follow it:
//
//	cluster.yaml:14:9: services[0].servers[1].weight: want an integer from 0 to 65535, got "heavy"
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
	}
	if p.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", p.Line, p.Column)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Problems is everything that is wrong with a cluster file, in the order of the
// file. It is the error of Parse and never empty there; errors.As finds it, and
// finds a single Problem in it too.
type Problems []Problem

// Error is one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the problems to errors.Is and errors.As one by one.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

// sort puts the problems in the order of the file; at one place the first found
// stays first.
func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
}
