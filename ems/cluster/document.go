package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// maxDepth bounds the nesting. The schema itself needs less than ten levels.
const maxDepth = 40

// maxMarks bounds the values, by the characters that part them: the tree takes
// half a kilobyte for each value, so that 4 MiB of commas would take gigabytes
// from a running daemon. It is enough for thirty thousand servers.
const maxMarks = 200_000

// document reads the one YAML document of a cluster file as a tree that knows
// its lines and columns. With ok false the problems are in r.
func document(r *reader, data []byte) (root *yaml.Node, ok bool) {
	if len(data) > MaxSize {
		r.add(Problem{Text: tooLarge})
		return nil, false
	}
	if !text(r, data) {
		return nil, false
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data),
		yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil { // the options are constant: not reached
		r.add(Problem{Text: err.Error()})
		return nil, false
	}
	var doc yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		r.add(Problem{Line: 1, Column: 1, Text: "the file is empty: " + example})
		return nil, false
	case err != nil:
		r.add(syntax(err, data))
		return nil, false
	}
	var second yaml.Node
	switch err := loader.Load(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.add(syntax(err, data))
	default:
		r.add(Problem{Line: second.Line, Column: second.Column,
			Text: "a second document starts here: one file describes one cluster"})
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		r.add(Problem{Line: 1, Column: 1, Text: "the file is empty: " + example})
		return nil, false
	}
	return doc.Content[0], true
}

const (
	example  = "it starts with a line like \"cluster: shop\"; docs/cluster.reference.yaml shows every key"
	tooLarge = "the file is larger than 4 MiB: a cluster file has some kilobytes, is this the right one?"
)

// text tells whether data is UTF-8 without control characters, the first thing
// YAML asks for, and of bearable size. The YAML library checks the former as
// well, but cannot say where.
func text(r *reader, data []byte) bool {
	line, column, marks := 1, 1, 0
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		bad := ""
		switch {
		case c == utf8.RuneError && size == 1:
			bad = fmt.Sprintf("byte 0x%02x is not UTF-8: save the file as UTF-8 text", data[i])
		case c < ' ' && c != '\t' && c != '\n' && c != '\r', c == 0xfffe, c == 0xffff:
			bad = fmt.Sprintf("control character U+%04X: a cluster file is plain text", c)
		}
		if parts(c, data[i+size:]) {
			marks++
		}
		if marks > maxMarks {
			bad = fmt.Sprintf("more than %d values: is this the right file?", maxMarks)
		}
		if bad != "" {
			r.add(Problem{Line: line, Column: column, Text: bad})
			return false
		}
		if column++; c == '\n' {
			line, column = line+1, 1
		}
		i += size
	}
	return true
}

// parts tells whether c may start a value or part it from the next one.
func parts(c rune, rest []byte) bool {
	switch c {
	case '\n', ',', '[', '{', '?':
		return true
	case '-', ':':
		return len(rest) > 0 && rest[0] == ' '
	}
	return false
}

// syntax turns the YAML library's error into a Problem at the place that a
// person has to look at.
func syntax(err error, data []byte) Problem {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		return Problem{Line: 1, Column: 1, Text: "not valid YAML: " + err.Error()}
	}
	p := Problem{Line: max(1, le.Mark.Line), Column: max(1, le.Mark.Column)}
	what := strings.TrimPrefix(le.Message, "yaml: ")
	switch line := lineOf(data, p.Line); {
	case strings.Contains(what, "max depth"):
		p.Text = fmt.Sprintf("nested deeper than %d levels: a cluster file is nearly flat", maxDepth)
		return p
	case strings.Contains(line[:len(line)-len(strings.TrimLeft(line, " \t"))], "\t"):
		p.Column = 1 + strings.IndexByte(line, '\t')
		p.Text = "not valid YAML: a tab indents this line: use spaces"
		return p
	case strings.Contains(what, "incompatible YAML"):
		what += ": leave the %YAML line out"
	case strings.Contains(what, "mapping values are not allowed"):
		what += ": is a line before it indented differently, or a text with \": \" not quoted?"
	case strings.Contains(what, "cannot start any token"):
		what += ": put the text in quotes"
	}
	// What began and does not end is to be mended where it begins.
	if start := le.ContextMark; strings.HasPrefix(le.ContextMsg, "while scanning a ") && start.Line > 0 {
		p.Line, p.Column = start.Line, max(1, start.Column)
		what += " (" + le.ContextMsg + ")"
	}
	p.Text = "not valid YAML: " + what
	return p
}

func lineOf(data []byte, n int) string {
	for ; n > 1; n-- {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return ""
		}
		data = data[i+1:]
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return string(line)
}

// isNull tells whether the value was left empty: nothing, ~ or null.
func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}
