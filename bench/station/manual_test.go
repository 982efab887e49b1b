package station

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// manual is a document whose blocks of the kind console are what was typed and what
// came: a prompt names the machines, as in "eds1,eds2# svm-fwd list"; a backslash at
// the end goes on in the next line; what follows is the output. In it … stands for
// anything, and on a line alone for any lines. In a command … ends a word that is to
// be pasted from an earlier output. A comment as <!-- lab: off eps2 --> is what happens
// to the machines meanwhile.
type manual struct {
	chapters []chapter
}

type chapter struct {
	title string
	steps []step
}

type step struct {
	line     int
	machines []string
	command  string
	lab      []string // instead of machines and command: the words of the comment
	output   []string // none: it does not matter
}

var prompt = regexp.MustCompile(`^([a-z0-9,]+)[#$] (.*)$`)

// readManual reads it; machines are the names that a prompt may have.
func readManual(path string, machines []string) (*manual, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m := &manual{}
	console, goesOn := false, false
	for i, line := range strings.Split(string(text), "\n") {
		var steps *[]step
		if n := len(m.chapters); n > 0 {
			steps = &m.chapters[n-1].steps
		}
		switch title, isTitle := strings.CutPrefix(line, "## "); {
		case strings.HasPrefix(line, "```"):
			console = line == "```console"
			if goesOn {
				return nil, fmt.Errorf("%s:%d: a command without an end", path, i)
			}
		case !console:
			if isTitle {
				m.chapters = append(m.chapters, chapter{title: title})
			}
			if text, is := strings.CutPrefix(line, "<!-- lab: "); is && steps != nil {
				*steps = append(*steps, step{line: i + 1, lab: strings.Fields(strings.TrimSuffix(text, "-->"))})
			}
		case steps == nil:
			return nil, fmt.Errorf("%s:%d: a command before the first chapter", path, i+1)
		case goesOn:
			last := &(*steps)[len(*steps)-1]
			last.command, goesOn = strings.CutSuffix(last.command+strings.TrimSpace(line), "\\")
		default:
			p := prompt.FindStringSubmatch(line)
			if p == nil {
				if len(*steps) == 0 || (*steps)[len(*steps)-1].command == "" {
					return nil, fmt.Errorf("%s:%d: output of nothing", path, i+1)
				}
				last := &(*steps)[len(*steps)-1]
				last.output = append(last.output, line)
				continue
			}
			s := step{line: i + 1, machines: strings.Split(p[1], ",")}
			for _, name := range s.machines {
				if !slices.Contains(machines, name) {
					return nil, fmt.Errorf("%s:%d: there is no machine %s", path, i+1, name)
				}
			}
			s.command, goesOn = strings.CutSuffix(p[2], "\\")
			*steps = append(*steps, s)
		}
	}
	return m, nil
}

// pattern matches text in which … stands for anything.
func pattern(text, anything string) *regexp.Regexp {
	words := strings.Fields(text)
	for i, w := range words {
		words[i] = strings.ReplaceAll(regexp.QuoteMeta(w), "…", anything)
	}
	return regexp.MustCompile(`^\s*` + strings.Join(words, `\s+`) + `\s*$`)
}

// paste fills in what the command has from an earlier output: as many of its last
// words as one line was.
func paste(command string, said []string) (string, error) {
	if !strings.Contains(command, "…") {
		return command, nil
	}
	words := strings.Fields(command)
	for i := range words {
		p := pattern(strings.Join(words[i:], " "), `\S+`)
		for _, line := range slices.Backward(said) {
			if p.MatchString(line) {
				return strings.Join(append(slices.Clone(words[:i]), line), " "), nil
			}
		}
	}
	return "", fmt.Errorf("nothing was printed that could be pasted into %q", command)
}

// differs says what the output does not have of what the manual shows.
func differs(want []string, output string) error {
	got := strings.Split(strings.TrimRight(output, "\n"), "\n")
	at, gap := 0, false
	for _, w := range want {
		if strings.TrimSpace(w) == "…" {
			gap = true
			continue
		}
		p := pattern(w, `.*`)
		found := -1
		for i := at; i < len(got) && (gap || i == at); i++ {
			if p.MatchString(got[i]) {
				found = i
				break
			}
		}
		if found < 0 {
			return fmt.Errorf("the manual shows\n\t%s\nwhich does not come in its place", w)
		}
		at, gap = found+1, false
	}
	if len(want) > 0 && !gap && at < len(got) {
		return fmt.Errorf("the manual does not show\n\t%s", got[at])
	}
	return nil
}
