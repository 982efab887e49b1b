// Package plan says, before anything is delivered, what a generation would change:
// the files of each machine, and the connections that would break. It is pure.
package plan

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pmezard/go-difflib/difflib"

	"github.com/svm-cluster/svm/ems/render"
)

// Kind of a change.
type Kind string

const (
	Same    Kind = "same"
	Added   Kind = "added"
	Removed Kind = "removed"
	Changed Kind = "changed"
)

// MachineChange is what becomes of one machine.
type MachineChange struct {
	Node   string
	Is     render.Kind
	Change Kind
	Files  []FileChange // those that change, sorted by path
}

// FileChange is what becomes of one file. The stamp, which differs in every
// generation, does not count.
type FileChange struct {
	Path   string
	Change Kind
	Secret bool   // no contents are shown
	Rights string // "mode 0644, owner root -> mode 0600, owner svm"; empty: the same
	Diff   string // unified, without a head; empty for secrets and where only rights change
}

// maxLines bounds the files that are compared line by line: the work may grow with
// the square of their length.
const maxLines = 10_000

// Compare tells what becomes of each machine, by name in both maps: directors first,
// then real servers, by name. Those that stay as they are are in the list as well.
// A nil Config is a machine that isn't there.
func Compare(old, now map[string]*render.Config) []MachineChange {
	var all []MachineChange
	seen := map[string]bool{}
	for _, m := range []map[string]*render.Config{now, old} {
		for node := range m {
			if !seen[node] && (old[node] != nil || now[node] != nil) {
				seen[node] = true
				all = append(all, machine(node, old[node], now[node]))
			}
		}
	}
	slices.SortFunc(all, func(a, b MachineChange) int {
		// "director" comes before "realserver" in the alphabet, too.
		return cmp.Or(cmp.Compare(a.Is, b.Is), strings.Compare(a.Node, b.Node))
	})
	return all
}

func machine(node string, old, now *render.Config) MachineChange {
	m := MachineChange{Node: node, Change: Changed}
	switch {
	case old == nil:
		m.Change, old = Added, &render.Config{}
		m.Is = now.Kind
	case now == nil:
		m.Change, now = Removed, &render.Config{}
		m.Is = old.Kind
	default:
		m.Is = now.Kind
	}
	was, is := byPath(old), byPath(now)
	for path, f := range was {
		if c := file(path, f, is[path]); c.Change != Same {
			m.Files = append(m.Files, c)
		}
	}
	for path, f := range is {
		if was[path] == nil {
			m.Files = append(m.Files, file(path, nil, f))
		}
	}
	slices.SortFunc(m.Files, func(a, b FileChange) int { return strings.Compare(a.Path, b.Path) })
	if m.Change == Changed && len(m.Files) == 0 {
		m.Change = Same
	}
	return m
}

func byPath(c *render.Config) map[string]*render.File {
	all := make(map[string]*render.File, len(c.Files))
	for i := range c.Files {
		all[c.Files[i].Path] = &c.Files[i]
	}
	return all
}

func file(path string, old, now *render.File) FileChange {
	c := FileChange{Path: path, Change: Changed}
	var was, is []byte
	if old == nil {
		c.Change = Added
	} else {
		was, c.Secret = old.Data, old.Secret
	}
	if now == nil {
		c.Change = Removed
	} else {
		is, c.Secret = now.Data, c.Secret || now.Secret
	}
	if c.Change == Changed {
		if a, b := rights(old), rights(now); a != b {
			c.Rights = a + " -> " + b
		}
	}
	// A key that happens to begin like a stamp is compared whole.
	if !c.Secret {
		was, is = render.Unstamped(was), render.Unstamped(is)
	}
	same := bytes.Equal(was, is)
	if same && c.Change == Changed && c.Rights == "" {
		c.Change = Same
	}
	if !same && !c.Secret {
		c.Diff = diff(string(was), string(is))
	}
	return c
}

func rights(f *render.File) string {
	return fmt.Sprintf("mode %#o, owner %s", f.Mode, cmp.Or(f.Owner, "root"))
}

func diff(was, is string) string {
	a, b := lines(was), lines(is)
	if max(len(a), len(b)) > maxLines {
		return fmt.Sprintf("@@ %d lines become %d: too many to compare @@\n", len(a), len(b))
	}
	// It writes to memory: no error is possible.
	text, _ := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{A: a, B: b, Context: 2})
	return text
}

// lines keeps their ends, adds one that is missing, and spells out what a terminal
// would obey: files are shown to an operator, whoever wrote them.
func lines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		all = append(all, plain(line)+"\n")
	}
	return all
}
