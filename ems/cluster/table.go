package cluster

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A table is one kind of mapping of the file, key by key. It is the only place
// that knows a key's name, type, range and default: the reader, the writer, the
// messages and the test of docs/cluster.reference.yaml all go by it.
type table[T any] []field[T]

// row is what a table says about a key, whatever its Go type.
type row struct {
	key  string
	want string // what may stand there, in the words of messages and reference
	def  string // the default in YAML; "" when words describes it
	desc string // the default in words, when it is none or depends on others
	must bool   // no default: the key has to be there
	sub  []row  // of a mapping, or of the elements of a list of mappings
}

// field is one key of a mapping that fills a T.
type field[T any] struct {
	row
	read   func(r *reader, p place, dst *T) // the value is written in the file
	absent func(r *reader, p place, dst *T) // the key is not there; p is the mapping's
	show   func(src *T) string              // the value in YAML; "": it is the default
	each   func(src *T) []string            // of a list of mappings: its elements in YAML
}

// kind is a type of value: how it is read, and how it is written again.
type kind[V any] struct {
	want string
	read func(r *reader, p place) (V, bool) // reports what is wrong
	show func(V) string
}

// need is a key without a default.
func need[T, V any](key string, k kind[V], at func(*T) *V) field[T] {
	f := maybe(key, k, "", at)
	f.must = true
	f.absent = missing[T](f.row)
	return f
}

// maybe is a key that may be left out: the field is then zero, and words say
// what that means.
func maybe[T, V any](key string, k kind[V], words string, at func(*T) *V) field[T] {
	var zero V
	return field[T]{
		row: row{key: key, want: k.want, desc: words},
		read: func(r *reader, p place, dst *T) {
			if v, ok := k.read(r, p); ok {
				*at(dst) = v
			}
		},
		absent: func(*reader, place, *T) {},
		show: func(src *T) string {
			if s := k.show(*at(src)); s != k.show(zero) {
				return s
			}
			return ""
		},
	}
}

// one is a key with a default, which is read as if it stood in the file.
func one[T, V any](key string, k kind[V], def string, at func(*T) *V) field[T] {
	f := maybe(key, k, "", at)
	f.def = def
	v, _ := k.read(newReader(""), place{&yaml.Node{Kind: yaml.ScalarNode, Value: def}, key})
	f.absent = func(_ *reader, _ place, dst *T) { *at(dst) = v }
	f.show = func(src *T) string {
		if s := k.show(*at(src)); s != k.show(v) {
			return s
		}
		return ""
	}
	return f
}

// object is a key that holds a mapping. Left out, it is like an empty one.
func object[T, S any](key string, rows table[S], at func(*T) *S) field[T] {
	return field[T]{
		row:  row{key: key, want: "a mapping", desc: "the defaults of its keys", sub: rows.rows()},
		read: func(r *reader, p place, dst *T) { rows.read(r, p, at(dst)) },
		absent: func(r *reader, p place, dst *T) {
			rows.defaults(r, place{p.node, p.key(key)}, at(dst))
		},
		show: func(src *T) string {
			if s := rows.show(at(src)); s != "{}" {
				return s
			}
			return ""
		},
	}
}

// optional is an object that means something by being there. Left out, unset
// makes its value, which need not be that of an empty mapping; there tells it
// from the value of one that is written.
func optional[T, S any](key string, rows table[S], words string, at func(*T) *S, unset func(*S), there func(*S) bool) field[T] {
	f := object(key, rows, at)
	f.desc = words
	f.absent = func(_ *reader, _ place, dst *T) { unset(at(dst)) }
	f.show = func(src *T) string {
		if !there(at(src)) {
			return ""
		}
		return rows.show(at(src))
	}
	return f
}

// list is a key that holds a list of mappings.
func list[T, S any](key, want string, rows table[S], at func(*T) *[]S) field[T] {
	each := func(src *T) []string {
		all := *at(src)
		parts := make([]string, len(all))
		for i := range all {
			parts[i] = rows.show(&all[i])
		}
		return parts
	}
	return field[T]{
		row: row{key: key, want: want, desc: "[]", sub: rows.rows()},
		read: func(r *reader, p place, dst *T) {
			if p.node.Kind != yaml.SequenceNode {
				r.fail(p, "want %s, got %s%s", want, got(p.node), emptyList(p.node))
				return
			}
			var all []S // nil when empty, as when the key is left out
			if n := len(p.node.Content); n > 0 {
				all = make([]S, n)
			}
			for i := range all {
				if e := p.element(i); r.open(e) {
					rows.read(r, e, &all[i])
				}
			}
			*at(dst) = all
		},
		absent: func(*reader, place, *T) {},
		show: func(src *T) string {
			if len(*at(src)) == 0 {
				return ""
			}
			return flow(each(src))
		},
		each: each,
	}
}

func emptyList(n *yaml.Node) string {
	if isNull(n) {
		return ": write [] for none"
	}
	return ""
}

// required makes a list or an object one that has to be there.
func required[T any](f field[T]) field[T] {
	f.must, f.desc = true, ""
	f.absent = missing[T](f.row)
	show := f.show
	f.show = func(src *T) string {
		if s := show(src); s != "" || !strings.HasPrefix(f.want, "a list") {
			return s
		}
		return "[]"
	}
	return f
}

func missing[T any](w row) func(*reader, place, *T) {
	return func(r *reader, p place, _ *T) {
		r.fail(place{p.node, p.key(w.key)}, "is missing: want %s", w.want)
	}
}

// read fills dst from the mapping at p, which open has seen.
func (t table[T]) read(r *reader, p place, dst *T) {
	if p.node.Kind != yaml.MappingNode {
		r.fail(p, "want a mapping of %s, got %s", strings.Join(t.keys(), ", "), got(p.node))
		return
	}
	first := make(map[string]*yaml.Node, len(t))
	for i := 0; i+1 < len(p.node.Content); i += 2 {
		k, v := p.node.Content[i], p.node.Content[i+1]
		at := place{k, p.key(printable(k.Value))}
		switch f := t.find(k.Value); {
		case k.Kind != yaml.ScalarNode:
			r.fail(place{k, p.path}, "a key must be a plain word, this one is %s", got(k))
		case k.Value == "<<" && k.Style == 0:
			r.fail(place{k, p.path}, "merge keys (<<) are not accepted: write the values out")
		case first[k.Value] != nil:
			r.fail(at, "given twice, first on line %d: leave one out", first[k.Value].Line)
		case f == nil && !r.full():
			r.fail(at, "unknown key%s", t.hint(k.Value))
		case f == nil:
			r.more++
		default:
			if e := (place{v, p.key(f.key)}); r.open(e) {
				f.read(r, e, dst)
			}
		}
		if k.Kind == yaml.ScalarNode && first[k.Value] == nil {
			first[k.Value] = k
		}
	}
	for i := range t {
		if first[t[i].key] == nil {
			t[i].absent(r, p, dst)
		}
	}
}

// defaults fills dst as if an empty mapping stood at p.
func (t table[T]) defaults(r *reader, p place, dst *T) {
	for i := range t {
		t[i].absent(r, p, dst)
	}
}

func (t table[T]) find(key string) *field[T] {
	for i := range t {
		if t[i].key == key {
			return &t[i]
		}
	}
	return nil
}

func (t table[T]) hint(key string) string {
	if s := didYouMean(key, t.keys()); s != "" {
		return s
	}
	return ": want one of " + strings.Join(t.keys(), ", ")
}

func (t table[T]) keys() []string {
	keys := make([]string, len(t))
	for i := range t {
		keys[i] = t[i].key
	}
	return keys
}

func (t table[T]) rows() []row {
	rows := make([]row, len(t))
	for i := range t {
		rows[i] = t[i].row
	}
	return rows
}

// show writes src as a flow mapping in the table's order, defaults left out.
func (t table[T]) show(src *T) string {
	var parts []string
	for i := range t {
		if s := t[i].show(src); s != "" {
			parts = append(parts, t[i].key+": "+s)
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// printable shows a key of the file in a path.
func printable(key string) string {
	odd := func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-')
	}
	if key == "" || len(key) > 60 || strings.ContainsFunc(key, odd) {
		return strconv.Quote(cut(key))
	}
	return key
}

// flow writes words as a flow list.
func flow(words []string) string { return fmt.Sprintf("[%s]", strings.Join(words, ", ")) }
