package cluster

import (
	"errors"
	"strings"
	"testing"
)

// base is the smallest usual file. The bad ones are made from it, each with one
// thing wrong.
const base = `cluster: shop
directors:
  - {name: eds1, client: {device: eth0, address: 10.0.1.2}, server: {device: eth1, address: 10.0.2.2}}
realservers:
  - {name: eps1, address: 10.0.2.11}
  - {name: eps2, address: 10.0.2.12}
services:
  - name: web
    vip: 10.0.1.100
    ports: 80
    servers: [{name: eps1}, {name: eps2}]
`

// badCase replaces texts of base, pair by pair, and wants exactly these
// messages, each without the file's name before it.
type badCase struct {
	name string
	edit []string
	want []string
}

// badFile is a whole file.
type badFile struct {
	name, file string
	want       []string
}

func allBad(t testing.TB) []badFile {
	var all []badFile
	for _, c := range append(badValues(), badMeanings()...) {
		all = append(all, badFile{c.name, edited(t, c.edit...), c.want})
	}
	return append(all, badFiles()...)
}

func edited(t testing.TB, edit ...string) string {
	t.Helper()
	file := base
	for i := 0; i < len(edit); i += 2 {
		if !strings.Contains(file, edit[i]) {
			t.Fatalf("%q is not in the file to edit", edit[i])
		}
		file = strings.Replace(file, edit[i], edit[i+1], 1)
	}
	return file
}

func TestBadFiles(t *testing.T) {
	all := allBad(t)
	if len(all) < 60 {
		t.Fatalf("only %d cases", len(all))
	}
	seen := map[string]bool{}
	for _, c := range all {
		if seen[c.name] {
			t.Errorf("two cases are named %q", c.name)
		}
		seen[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse("cluster.yaml", []byte(c.file))
			if err == nil {
				t.Fatalf("accepted as\n%s", got.YAML())
			}
			if got != nil {
				t.Error("a cluster came with the error")
			}
			if want := "cluster.yaml:" + strings.Join(c.want, "\ncluster.yaml:"); err.Error() != want {
				t.Errorf("got\n%s\nwant\n%s", err, want)
			}
			var problems Problems
			if !errors.As(err, &problems) || len(problems) != len(c.want) {
				t.Errorf("%d problems, want %d", len(problems), len(c.want))
			}
		})
	}
}
