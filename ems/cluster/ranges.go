package cluster

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// span is First to Last, both included: what ports and statuses are made of.
type span struct{ first, last int }

// spans is a number, a range like 200-299, or a list of these. The result is
// sorted, and what overlaps or touches is one span.
func spans(want string, lo, hi int) kind[[]span] {
	one := scalar(want,
		func(w word) (span, string, bool) {
			a, b, ranged := strings.Cut(w.text, "-")
			if !ranged {
				b = a
			}
			s := span{number(a), number(b)}
			switch {
			case !ranged && !w.plain && s.first >= 0:
				return span{}, ": leave the quotes out", false
			case s.first > s.last && s.last >= 0:
				return span{}, `, did you mean "` + b + "-" + a + `"?`, false
			}
			return s, "", s.first >= lo && s.last >= s.first && s.last <= hi
		},
		func(s span) string {
			if s.first == s.last {
				return strconv.Itoa(s.first)
			}
			return strconv.Itoa(s.first) + "-" + strconv.Itoa(s.last)
		})
	k := listOf(want, one, hi)
	read := k.read
	k.read = func(r *reader, p place) ([]span, bool) {
		s, ok := read(r, p)
		return merge(s), ok
	}
	return k
}

// number is a decimal number without a sign, or -1.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || s[0] < '0' || s[0] > '9' || s[0] == '0' && len(s) > 1 {
		return -1
	}
	return n
}

func merge(all []span) []span {
	slices.SortFunc(all, func(a, b span) int { return a.first - b.first })
	var out []span
	for _, s := range all {
		if n := len(out); n > 0 && s.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, s.last)
			continue
		}
		out = append(out, s)
	}
	return out
}

// ports is spans of ports, or the word any.
func ports() kind[Ports] {
	const want = "a port from 1 to 65535, a range like 8000-8999, a list of these, or any"
	s := spans(want, 1, 65535)
	return kind[Ports]{
		want: want,
		read: func(r *reader, p place) (Ports, bool) {
			if p.node.Kind == yaml.ScalarNode && p.node.Value == "any" {
				return Ports{{1, 65535}}, true
			}
			all, ok := s.read(r, p)
			if ok && len(all) == 0 {
				r.fail(p, "want %s, got an empty list", want)
				return nil, false
			}
			if !ok {
				return nil, false
			}
			out := make(Ports, len(all))
			for i, one := range all {
				out[i] = PortRange{uint16(one.first), uint16(one.last)}
			}
			return out, true
		},
		show: func(p Ports) string {
			if p.Any() {
				return "any"
			}
			all := make([]span, len(p))
			for i, one := range p {
				all[i] = span{int(one.First), int(one.Last)}
			}
			return s.show(all)
		},
	}
}

// statuses is spans of HTTP status codes, each code listed. All of 200 to 399 is
// the default, and so is the empty list.
func statuses() kind[[]int] {
	const want = "a status from 100 to 599, a range like 200-299, or a list of these"
	s := spans(want, 100, 599)
	return kind[[]int]{
		want: want,
		read: func(r *reader, p place) ([]int, bool) {
			all, ok := s.read(r, p)
			if !ok || len(all) == 1 && all[0] == (span{200, 399}) {
				return nil, ok
			}
			var codes []int
			for _, one := range all {
				for c := one.first; c <= one.last; c++ {
					codes = append(codes, c)
				}
			}
			return codes, true
		},
		show: func(codes []int) string {
			all := make([]span, len(codes))
			for i, c := range codes {
				all[i] = span{c, c}
			}
			return s.show(merge(all))
		},
	}
}

// flags is a list of scheduler flags, sorted and each once. IPVS's two names for
// its first flag mean the same.
func flags() kind[[]string] {
	k := listOf("a list of fallback, mh-port, sh-port",
		choice("fallback", "mh-port", "sh-port", "mh-fallback", "sh-fallback"), 16)
	read := k.read
	k.read = func(r *reader, p place) ([]string, bool) {
		all, ok := read(r, p)
		for i, f := range all {
			if strings.HasSuffix(f, "-fallback") {
				all[i] = "fallback"
			}
		}
		slices.Sort(all)
		return slices.Compact(all), ok
	}
	return k
}

// command is a program and its arguments; no shell comes between.
func command() kind[[]string] {
	const want = "a list like [/usr/lib/svm/check, argument] that starts with an absolute file name"
	arg := textWhere("an argument of at most 4096 bytes", func(s string) bool {
		return len(s) <= 4096 && !strings.ContainsRune(s, 0)
	})
	k := listOf(want, arg, 64)
	read := k.read
	k.read = func(r *reader, p place) ([]string, bool) {
		all, ok := read(r, p)
		if ok && (len(all) == 0 || !isFile(all[0])) {
			r.fail(p, "want %s", want)
			return nil, false
		}
		return all, ok
	}
	return k
}
