package plan

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// plain spells out control and formatting characters.
func plain(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	odd := func(c rune) bool { return c != '\t' && (unicode.IsControl(c) || unicode.Is(unicode.Cf, c)) }
	if !strings.ContainsFunc(s, odd) {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if odd(c) {
			fmt.Fprintf(&b, "\\u%04x", c)
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

// painter writes with the colours that a terminal knows, or without.
type painter struct {
	*bufio.Writer
	colour bool
}

const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (p painter) paint(code, text string) string {
	if !p.colour || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Write shows changes to people. Those machines that stay as they are share a line.
func Write(w io.Writer, changes []MachineChange, colour bool) error {
	p := painter{bufio.NewWriter(w), colour}
	var same []string
	for i := range changes {
		m := &changes[i]
		if m.Change == Same {
			same = append(same, m.Node)
			continue
		}
		fmt.Fprintln(p, p.paint(bold, fmt.Sprintf("%s (%s) %s: %s", m.Node, m.Is, m.Change, count(len(m.Files), "file"))))
		for j := range m.Files {
			p.file(&m.Files[j])
		}
	}
	switch {
	case len(changes) > 0 && len(same) == len(changes):
		fmt.Fprintln(p, "nothing changes on any machine")
	case len(same) > 8:
		fmt.Fprintf(p, "%d machines stay as they are\n", len(same))
	case len(same) > 0:
		fmt.Fprintf(p, "%s: as before\n", strings.Join(same, ", "))
	}
	return p.Flush()
}

func (p painter) file(f *FileChange) {
	what := string(f.Change)
	if f.Secret {
		what += ", secret"
	}
	if f.Rights != "" {
		what += ", " + f.Rights
	}
	code := map[Kind]string{Added: green, Removed: red, Changed: yellow}[f.Change]
	fmt.Fprintf(p, "  %s\n", p.paint(code, f.Path+" "+what))
	for line := range strings.Lines(f.Diff) {
		line = strings.TrimSuffix(line, "\n")
		code := map[string]string{"+": green, "-": red, "@": cyan}[line[:min(1, len(line))]]
		fmt.Fprintf(p, "    %s\n", p.paint(code, line))
	}
}

// WriteMoves shows a prediction to people.
func WriteMoves(w io.Writer, m Moves, colour bool) error {
	p := painter{bufio.NewWriter(w), colour}
	for i := range m.Services {
		s := &m.Services[i]
		text, code := "no connection moves", ""
		switch {
		case len(s.Cut) > 0 && !s.Known:
			text, code = "unknown how many connections break: no director said", yellow
		case s.Broken > 0:
			text, code = fmt.Sprintf("%s of %d break", count(s.Broken, "connection"), s.Connections), red
		case len(s.Cut) > 0:
			text = fmt.Sprintf("none of %s breaks", count(s.Connections, "connection"))
		}
		fmt.Fprintf(p, "%s: %s\n", s.Service, p.paint(code, text))
		for _, c := range s.Cut {
			n := "unknown"
			if c.Known {
				n = count(c.Connections, "connection")
			}
			fmt.Fprintf(p, "  %s: %s (%s)\n", c.Server, c.Why, n)
		}
		for _, note := range s.Notes {
			fmt.Fprintf(p, "  %s\n", note)
		}
	}
	return p.Flush()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
