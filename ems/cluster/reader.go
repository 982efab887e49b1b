package cluster

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxProblems bounds the report, and with it the memory that a file full of
// rubbish can cost. What is left out is counted.
const maxProblems = 1000

// place is one value of the file: its node, and its path as messages name it.
type place struct {
	node *yaml.Node
	path string
}

func (p place) key(name string) string { return join(p.path, name) }

func (p place) element(i int) place {
	return place{p.node.Content[i], fmt.Sprintf("%s[%d]", p.path, i)}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// reader collects the problems of one file, and remembers where each path stands
// so that the semantic checks can name places as well.
type reader struct {
	file     string
	problems Problems
	more     int                   // problems beyond maxProblems
	at       map[string]*yaml.Node // what is written in the file, by path
	bad      map[string]bool       // what was reported already, by path
}

func newReader(file string) *reader {
	return &reader{file: file, at: map[string]*yaml.Node{}, bad: map[string]bool{}}
}

func (r *reader) full() bool { return len(r.problems) >= maxProblems }

func (r *reader) add(p Problem) {
	if r.full() {
		r.more++
		return
	}
	p.File = r.file
	r.problems = append(r.problems, p)
}

// fail reports a problem of the value at p.
func (r *reader) fail(p place, format string, args ...any) {
	r.bad[p.path] = true
	if r.full() {
		r.more++ // and no time is lost with its words
		return
	}
	r.add(Problem{Line: p.node.Line, Column: p.node.Column, Path: p.path, Text: fmt.Sprintf(format, args...)})
}

// report is fail for a path; one that is not written in the file is reported at
// the mapping that should hold it.
func (r *reader) report(path, format string, args ...any) {
	n := r.at[path]
	for p := path; n == nil; n = r.at[p] {
		cut := strings.LastIndexAny(p, ".[")
		if cut < 0 {
			n = r.at[""]
			break
		}
		p = p[:cut]
	}
	r.fail(place{n, path}, format, args...)
}

// given tells whether the path is written in the file, and not a default.
func (r *reader) given(path string) bool { return r.at[path] != nil }

// fine tells whether none of the paths has been reported: a check over several
// values is silent when one of them is wrong by itself.
func (r *reader) fine(paths ...string) bool {
	for _, p := range paths {
		if r.bad[p] {
			return false
		}
	}
	return true
}

// line says where a path stands, for messages about something else.
func (r *reader) line(path string) string {
	if n := r.at[path]; n != nil {
		return " (line " + strconv.Itoa(n.Line) + ")"
	}
	return ""
}

// err returns the problems, sorted, or nil.
func (r *reader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	r.problems.sort()
	if r.more > 0 {
		r.problems = append(r.problems, Problem{File: r.file,
			Text: fmt.Sprintf("and %d more problems, not shown", r.more)})
	}
	return r.problems
}

// open notes where a value stands, and refuses what YAML allows but a cluster
// file does not need: an alias can make a small file a huge one, and a reader of
// the file would have to search for what it says; a tag overrides its type.
func (r *reader) open(p place) bool {
	r.at[p.path] = p.node
	switch {
	case p.node.Kind == yaml.AliasNode:
		r.fail(p, "aliases (*%s) are not accepted: write the value out", cut(p.node.Value))
		return false
	case p.node.Style&yaml.TaggedStyle != 0:
		r.fail(p, "tags (%s) are not accepted: leave it out", cut(p.node.ShortTag()))
		return false
	}
	return true
}

// got shows a value in a message: a word the way it is written.
func got(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case n.ShortTag() == "!!str" || n.ShortTag() == "!!timestamp":
		return strconv.Quote(cut(n.Value))
	}
	return cut(n.Value)
}

// cut shortens what a message repeats.
func cut(s string) string {
	const most = 60
	if n := []rune(s); len(n) > most {
		return string(n[:most]) + "..."
	}
	return s
}
