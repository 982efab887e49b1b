package cluster

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// word is the text of a scalar; plain means without quotes, so that 3 and "3"
// can be told apart.
type word struct {
	text  string
	plain bool
}

// scalar makes a kind of what is written as one word. parse returns a hint,
// appended to the message, when it does not accept the word.
func scalar[V any](want string, parse func(word) (v V, hint string, ok bool), show func(V) string) kind[V] {
	return kind[V]{
		want: want,
		read: func(r *reader, p place) (v V, ok bool) {
			hint := ""
			if p.node.Kind == yaml.ScalarNode && !isNull(p.node) {
				if v, hint, ok = parse(word{p.node.Value, p.node.Style == 0}); ok {
					return v, true
				}
			}
			r.fail(p, "want %s, got %s%s", want, got(p.node), hint)
			return v, false
		},
		show: show,
	}
}

// integer is a decimal number, unquoted.
func integer[N int | uint8 | uint16](lo, hi N) kind[N] {
	return scalar(fmt.Sprintf("an integer from %d to %d", lo, hi),
		func(w word) (N, string, bool) {
			n, err := strconv.Atoi(w.text)
			switch digits := strings.TrimPrefix(w.text, "-"); {
			case err != nil || digits[0] == '+':
				return 0, "", false
			case !w.plain:
				return 0, ": leave the quotes out", false
			case len(digits) > 1 && digits[0] == '0':
				return 0, ": leave the leading zero out", false
			}
			return N(n), "", n >= int(lo) && n <= int(hi)
		},
		func(n N) string { return strconv.Itoa(int(n)) })
}

// boolean is true or false, unquoted: YAML's older words for it are texts today.
func boolean() kind[bool] {
	return scalar("true or false",
		func(w word) (bool, string, bool) {
			return w.text == "true", "", w.plain && (w.text == "true" || w.text == "false")
		},
		strconv.FormatBool)
}

// duration is Go's notation, with a unit. A step of 0 allows every value.
func duration(lo, hi, step time.Duration) kind[time.Duration] {
	want := fmt.Sprintf("a duration from %s to %s", tidy(lo), tidy(hi))
	if step > 0 {
		want += " in steps of " + tidy(step)
	}
	return scalar(want,
		func(w word) (time.Duration, string, bool) {
			d, err := time.ParseDuration(w.text)
			if err != nil {
				if strings.Trim(w.text, "0123456789") == "" && w.text != "" {
					return 0, ": add a unit, as in " + cut(w.text) + "s", false
				}
				return 0, "", false
			}
			return d, "", d >= lo && d <= hi && (step == 0 || d%step == 0)
		},
		tidy)
}

// tidy writes a duration without the zero parts that Duration.String adds.
func tidy(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// choice is one of some words.
func choice[S ~string](words ...S) kind[S] {
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = string(w)
	}
	return scalar(alternatives(names),
		func(w word) (S, string, bool) {
			for _, s := range words {
				if w.text == string(s) {
					return s, "", true
				}
			}
			return "", didYouMean(w.text, names), false
		},
		func(s S) string { return quote(string(s)) })
}

func alternatives(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// texts is any text of at most most bytes; a number without quotes is one too.
func texts(want string, most int) kind[string] {
	return textWhere(fmt.Sprintf("%s of at most %d bytes", want, most), func(s string) bool { return len(s) <= most })
}

func textWhere(want string, accept func(string) bool) kind[string] {
	return scalar(want,
		func(w word) (string, string, bool) {
			if !accept(w.text) {
				return "", "", false
			}
			return w.text, "", true
		},
		quote)
}

// listOf is a list of words; a single one may stand for itself.
func listOf[V any](want string, k kind[V], most int) kind[[]V] {
	return kind[[]V]{
		want: want,
		read: func(r *reader, p place) ([]V, bool) {
			if p.node.Kind == yaml.ScalarNode && !isNull(p.node) {
				v, ok := k.read(r, p)
				return []V{v}, ok
			}
			if p.node.Kind != yaml.SequenceNode || len(p.node.Content) > most {
				r.fail(p, "want %s, got %s%s", want, got(p.node), tooMany(p.node, most))
				return nil, false
			}
			var all []V
			good := true
			for i := range p.node.Content {
				e := p.element(i)
				if !r.open(e) {
					good = false
					continue
				}
				v, ok := k.read(r, e)
				good = good && ok
				all = append(all, v)
			}
			if !good {
				r.bad[p.path] = true
			}
			return all, good
		},
		show: func(all []V) string {
			words := make([]string, len(all))
			for i, v := range all {
				words[i] = k.show(v)
			}
			return flow(words)
		},
	}
}

func tooMany(n *yaml.Node, most int) string {
	if n.Kind == yaml.SequenceNode {
		return fmt.Sprintf(" of %d: at most %d", len(n.Content), most)
	}
	return emptyList(n)
}

// quote writes a text so that YAML reads the same text again: the words of a
// typical file plain, anything else in double quotes, whose escapes are Go's.
func quote(s string) string {
	plain := s != "" && !strings.EqualFold(s, "null")
	for i, c := range s {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '/':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			plain = false
		}
	}
	if plain {
		return s
	}
	return strconv.QuoteToASCII(s)
}
