package plan

import (
	"bytes"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/ems/render"
)

// config makes one of path, contents, path, contents... below a stamp of generation.
func config(node string, kind render.Kind, generation uint64, files ...string) *render.Config {
	c := &render.Config{Stamp: render.Stamp{Cluster: "shop", Generation: generation, Digest: strings.Repeat(fmt.Sprint(generation), 64)}, Node: node, Kind: kind}
	for i := 0; i < len(files); i += 2 {
		c.Files = append(c.Files, render.File{Path: files[i], Mode: 0o644, Data: []byte(c.Stamp.Line(node) + files[i+1])})
	}
	return c
}

func secret(c *render.Config, path, data string) *render.Config {
	c.Files = append(c.Files, render.File{Path: path, Mode: 0o600, Owner: "svm", Secret: true, Data: []byte(data)})
	return c
}

func written(t *testing.T, changes []MachineChange, colour bool) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, changes, colour); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCompare(t *testing.T) {
	type m = map[string]*render.Config
	d, r := render.Director, render.RealServer
	mode := func(c *render.Config, mode fs.FileMode) *render.Config { c.Files[0].Mode = mode; return c }
	for name, c := range map[string]struct {
		old, now m
		want     string
	}{
		"nothing at all":  {nil, nil, ""},
		"only the stamp":  {m{"eds1": config("eds1", d, 1, "/a", "x\n")}, m{"eds1": config("eds1", d, 2, "/a", "x\n")}, "nothing changes on any machine\n"},
		"first of all":    {nil, m{"eds1": config("eds1", d, 1, "/a", "x\n")}, "eds1 (director) added: 1 file\n  /a added\n    @@ -0,0 +1 @@\n    +x\n"},
		"a machine goes":  {m{"eps1": config("eps1", r, 1, "/a", "x\n")}, m{"eps1": nil}, "eps1 (realserver) removed: 1 file\n  /a removed\n    @@ -1 +0,0 @@\n    -x\n"},
		"a line":          {m{"eds1": config("eds1", d, 1, "/a", "1\n2\n3\n4\n5\n6\n")}, m{"eds1": config("eds1", d, 2, "/a", "1\n2\n3\nfour\n5\n6\n")}, "eds1 (director) changed: 1 file\n  /a changed\n    @@ -2,5 +2,5 @@\n     2\n     3\n    -4\n    +four\n     5\n     6\n"},
		"no newline":      {m{"eds1": config("eds1", d, 1, "/a", "x")}, m{"eds1": config("eds1", d, 2, "/a", "y")}, "eds1 (director) changed: 1 file\n  /a changed\n    @@ -1 +1 @@\n    -x\n    +y\n"},
		"files":           {m{"eds1": config("eds1", d, 1, "/b", "x\n", "/a", "x\n")}, m{"eds1": config("eds1", d, 2, "/c", "x\n", "/a", "x\n")}, "eds1 (director) changed: 2 files\n  /b removed\n    @@ -1 +0,0 @@\n    -x\n  /c added\n    @@ -0,0 +1 @@\n    +x\n"},
		"rights":          {m{"eds1": config("eds1", d, 1, "/a", "x\n")}, m{"eds1": mode(config("eds1", d, 2, "/a", "x\n"), 0o640)}, "eds1 (director) changed: 1 file\n  /a changed, mode 0644, owner root -> mode 0640, owner root\n"},
		"secret":          {m{"eds1": secret(config("eds1", d, 1), "/k", "hush1")}, m{"eds1": secret(config("eds1", d, 2), "/k", "hush2")}, "eds1 (director) changed: 1 file\n  /k changed, secret\n"},
		"secret stays":    {m{"eds1": secret(config("eds1", d, 1), "/k", "hush")}, m{"eds1": secret(config("eds1", d, 2), "/k", "hush")}, "nothing changes on any machine\n"},
		"secret comes":    {m{"eds1": config("eds1", d, 1)}, m{"eds1": secret(config("eds1", d, 2), "/k", "hush")}, "eds1 (director) changed: 1 file\n  /k added, secret\n"},
		"secret goes":     {m{"eds1": secret(config("eds1", d, 1), "/k", "hush")}, m{"eds1": config("eds1", d, 2)}, "eds1 (director) changed: 1 file\n  /k removed, secret\n"},
		"was secret":      {m{"eds1": secret(config("eds1", d, 1), "/k", "hush")}, m{"eds1": config("eds1", d, 2, "/k", "x\n")}, "eds1 (director) changed: 1 file\n  /k changed, secret, mode 0600, owner svm -> mode 0644, owner root\n"},
		"becomes secret":  {m{"eds1": config("eds1", d, 1, "/k", "hush\n")}, m{"eds1": secret(config("eds1", d, 2), "/k", "x")}, "eds1 (director) changed: 1 file\n  /k changed, secret, mode 0644, owner root -> mode 0600, owner svm\n"},
		"a terminal":      {nil, m{"eds1": config("eds1", d, 1, "/a", "\x1b[2J\u202eevil\u009b1m\ttab\r\n\xff\n")}, "eds1 (director) added: 1 file\n  /a added\n    @@ -0,0 +1,2 @@\n    +\\u001b[2J\\u202eevil\\u009b1m\ttab\\u000d\n    +\ufffd\n"},
		"directors first": {m{"a": config("a", r, 1), "z": config("z", d, 1), "b": config("b", r, 1, "/a", "x\n")}, m{"a": config("a", r, 2), "z": config("z", d, 2), "b": config("b", r, 2, "/a", "x\n", "/b", "")}, "b (realserver) changed: 1 file\n  /b added\nz, a: as before\n"},
	} {
		got := written(t, Compare(c.old, c.now), false)
		if got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c.want)
		}
		if strings.Contains(got, "hush") {
			t.Errorf("%s: a secret is shown", name)
		}
	}
}

func TestManyMachines(t *testing.T) {
	old, now := map[string]*render.Config{}, map[string]*render.Config{}
	for i := range 200 {
		node := fmt.Sprintf("eps%d", i)
		old[node], now[node] = config(node, render.RealServer, 1, "/a", "x\n"), config(node, render.RealServer, 2, "/a", "x\n")
	}
	now["eps7"] = config("eps7", render.RealServer, 2, "/a", "y\n")
	if got := written(t, Compare(old, now), false); !strings.HasSuffix(got, "\n199 machines stay as they are\n") || !strings.HasPrefix(got, "eps7 ") {
		t.Errorf("got\n%s", got)
	}
}

func TestColours(t *testing.T) {
	changes := Compare(map[string]*render.Config{"eds1": config("eds1", render.Director, 1, "/a", "x\n")},
		map[string]*render.Config{"eds1": config("eds1", render.Director, 2, "/a", "y\n")})
	const want = "\x1b[1meds1 (director) changed: 1 file\x1b[0m\n  \x1b[33m/a changed\x1b[0m\n" +
		"    \x1b[36m@@ -1 +1 @@\x1b[0m\n    \x1b[31m-x\x1b[0m\n    \x1b[32m+y\x1b[0m\n"
	if got := written(t, changes, true); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if strings.Contains(written(t, changes, false), "\x1b") {
		t.Error("colours where none are wanted")
	}
}

func TestHugeFile(t *testing.T) {
	big := strings.Repeat("x\n", maxLines+1)
	got := written(t, Compare(map[string]*render.Config{"eds1": config("eds1", render.Director, 1, "/a", "y\n")},
		map[string]*render.Config{"eds1": config("eds1", render.Director, 2, "/a", big)}), false)
	if !strings.Contains(got, "@@ 1 lines become 10001: too many to compare @@") {
		t.Errorf("got %d bytes: %.200s", len(got), got)
	}
}
