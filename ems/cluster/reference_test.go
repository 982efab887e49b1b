package cluster

import (
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const referenceFile = "../../docs/cluster.reference.yaml"

func TestReferenceParses(t *testing.T) {
	c, err := Load(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(c.Services); got != 3 {
		t.Errorf("%d services, want 3", got)
	}
	if c.Service("web").Check.Status[99] != 299 || !c.Service("dns").OnePacket {
		t.Errorf("values are not those of the file: %+v", c.Services)
	}
}

// entry is a key of the reference with the comment on its line.
type entry struct {
	mapping *yaml.Node
	index   int // of the key in mapping.Content
	comment string
}

// TestReferenceIsComplete walks the schema and the reference side by side: each
// key is there, with its type, range and default in the words of the schema.
func TestReferenceIsComplete(t *testing.T) {
	_, entries := readReference(t)
	eachRow(schema().rows(), "", func(path string, r row) {
		all := entries[path]
		if len(all) == 0 {
			t.Errorf("%s is not in %s", path, referenceFile)
			return
		}
		want := "required"
		if !r.must {
			want = "default " + r.def + r.desc
		}
		if r.sub == nil {
			want = r.want + "; " + want
		}
		described := 0
		for _, e := range all {
			if e.comment != "" {
				described++
				if e.comment != want {
					t.Errorf("%s: comment is\n\t%s, want\n\t%s", path, e.comment, want)
				}
			}
		}
		if described != 1 {
			t.Errorf("%s: described %d times, want once: # %s", path, described, want)
		}
		delete(entries, path)
	})
	for path := range entries {
		t.Errorf("%s is in the reference, but not in the schema", path)
	}
}

// TestReferenceDefaultsAreInForce writes each default, as the reference words
// it, in place of the value, then leaves the key out: the meaning is the same.
func TestReferenceDefaultsAreInForce(t *testing.T) {
	root, entries := readReference(t)
	tried := 0
	for path, all := range entries {
		for _, e := range all {
			_, def, found := strings.Cut(e.comment, "; default ")
			if !found || strings.Contains(def, " ") || def == "none" || def == "nothing" {
				continue // no default, or one in words
			}
			tried++
			kept := e.mapping.Content
			value := kept[e.index+1]
			var node yaml.Node
			if err := yaml.Load([]byte(def), &node); err != nil {
				t.Fatal(err)
			}
			kept[e.index+1] = node.Content[0]
			spelled := reparse(t, path+" as the default", root)
			kept[e.index+1] = value
			e.mapping.Content = append(append([]*yaml.Node{}, kept[:e.index]...), kept[e.index+2:]...)
			left := reparse(t, path+" left out", root)
			e.mapping.Content = kept
			if spelled.Digest() != left.Digest() {
				t.Errorf("%s: %s is not the default in force:\n%s\n%s", path, def, spelled.YAML(), left.YAML())
			}
		}
	}
	if tried < 30 {
		t.Errorf("only %d defaults were found", tried)
	}
}

func reparse(t *testing.T, what string, root *yaml.Node) *Cluster {
	t.Helper()
	data, err := yaml.Dump(root)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(what, data)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func eachRow(rows []row, prefix string, do func(path string, r row)) {
	for _, r := range rows {
		path := join(prefix, r.key)
		do(path, r)
		eachRow(r.sub, path, do)
	}
}

// readReference returns the tree, and every key by its path without indexes.
func readReference(t *testing.T) (*yaml.Node, map[string][]entry) {
	t.Helper()
	data, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	entries := map[string][]entry{}
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		switch n.Kind {
		case yaml.SequenceNode:
			for _, e := range n.Content {
				walk(e, path)
			}
		case yaml.MappingNode:
			for i := 0; i < len(n.Content); i += 2 {
				k := n.Content[i]
				_, comment, _ := strings.Cut(lines[k.Line-1], " # ")
				at := join(path, k.Value)
				entries[at] = append(entries[at], entry{n, i, strings.TrimSpace(comment)})
				walk(n.Content[i+1], at)
			}
		}
	}
	walk(doc.Content[0], "")
	return doc.Content[0], entries
}
