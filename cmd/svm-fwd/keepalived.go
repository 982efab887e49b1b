package main

import (
	"fmt"
	"strings"
)

// statement is one line of a keepalived.conf, with the block behind it if there is one.
type statement struct {
	line  int
	words []string
	block []*statement
}

func (s *statement) word(i int) string {
	if i < len(s.words) {
		return s.words[i]
	}
	return ""
}

// parseKeepalived reads a file's statements. Comments begin with # or !.
func parseKeepalived(text string) ([]*statement, error) {
	root := &statement{}
	open := []*statement{root}
	n := 0
	for line := range strings.Lines(text) {
		n++
		var now *statement
		words, err := keepalivedWords(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		for _, w := range words {
			top := open[len(open)-1]
			switch w {
			case "{":
				if now == nil { // on a line of its own
					if len(top.block) == 0 {
						return nil, fmt.Errorf("line %d: { without a word before it", n)
					}
					now = top.block[len(top.block)-1]
				}
				open, now = append(open, now), nil
			case "}":
				if len(open) == 1 {
					return nil, fmt.Errorf("line %d: } without {", n)
				}
				open, now = open[:len(open)-1], nil
			default:
				if now == nil {
					now = &statement{line: n}
					top.block = append(top.block, now)
				}
				now.words = append(now.words, strings.TrimPrefix(w, "\x00"))
			}
		}
	}
	if len(open) > 1 {
		return nil, fmt.Errorf("line %d: the block is not closed", open[len(open)-1].line)
	}
	return root.block, nil
}

// keepalivedWords splits a line. A quoted word comes with a NUL before it, so that
// it is not taken for a brace.
func keepalivedWords(line string) (words []string, err error) {
	var w strings.Builder
	inside := false
	end := func() {
		if inside {
			words = append(words, w.String())
		}
		w.Reset()
		inside = false
	}
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case '#', '!':
			end()
			return words, nil
		case '"', '\'':
			j := strings.IndexByte(line[i+1:], c)
			if j < 0 {
				return nil, fmt.Errorf("%c is not closed", c)
			}
			if !inside {
				w.WriteByte(0)
			}
			w.WriteString(line[i+1 : i+1+j])
			i, inside = i+1+j, true
		case '{', '}':
			end()
			words = append(words, string(c))
		case ' ', '\t', '\r', '\n':
			end()
		default:
			w.WriteByte(c)
			inside = true
		}
	}
	end()
	return words, nil
}
