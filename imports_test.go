// Package svm_test holds the rules that no single package can hold: which may
// import which (docs/architecture.md).
package svm_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/svm-cluster/svm/"

// ours lists, for each package, what of ours it may import. "" stands for all
// below a folder that ends in "...".
var ours = map[string][]string{
	"sched":                     {},
	"forwarder/frame":           {},
	"forwarder/pktio":           {},
	"forwarder/health":          {},
	"forwarder/guard":           {},
	"realserver":                {},
	"ems/cluster":               {},
	"ems/render":                {"ems/cluster"},
	"ems/plan":                  {"ems/cluster", "ems/render"},
	"ems/bundle":                {"ems/cluster", "ems/render"},
	"ems/machine":               {"ems/render"},
	"ems/enroll":                {"ems/render"},
	"ems/push":                  {"ems/bundle", "ems/cluster", "ems/machine", "ems/render"},
	"ems/push/pushtest":         {"ems/bundle", "ems/cluster", "ems/machine", "ems/push", "ems/render"},
	"ems/provision":             {"ems/bundle", "ems/cluster", "ems/machine", "ems/render"},
	"ems/station":               {"ems/bundle", "ems/cluster", "ems/enroll", "ems/render"},
	"bench/netlab":              {},
	"ha":                        {},
	"ha/flowsync":               {"forwarder/flow", "forwarder/frame"},
	"forwarder/flow":            {"forwarder/frame"},
	"forwarder/neigh":           {"forwarder/frame"},
	"forwarder/pktio/afpacket":  {"forwarder/pktio"},
	"forwarder/pktio/memio":     {"forwarder/pktio"},
	"forwarder/pktio/pktiotest": {"forwarder/pktio"},
	"forwarder":                 {"forwarder/frame", "forwarder/flow", "forwarder/pktio", "sched"},
	"forwarder/doctor":          {"ems/cluster"},
	"forwarder/control": {
		"ems/cluster", "forwarder", "forwarder/flow", "forwarder/frame", "forwarder/guard", "forwarder/health",
		"forwarder/neigh", "forwarder/pktio", "ha", "ha/flowsync", "sched",
	},
}

// only says which packages may import some of other people's.
var only = map[string][]string{
	"golang.org/x/sys/unix": {
		"forwarder/pktio/afpacket", "forwarder/neigh", "forwarder/guard", "forwarder/health", "forwarder/doctor",
		"ha", "realserver", "ems/machine", "ems/provision", "bench/netlab",
	},
	"unsafe":                     {"forwarder/pktio/afpacket", "forwarder/flow"},
	"github.com/google/gopacket": {},
}

type listed struct {
	ImportPath string
	Imports    []string
}

func TestImports(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		if pkg, ok := strings.CutPrefix(p.ImportPath, module); ok { // the root holds tests only
			checkImports(t, pkg, p.Imports)
		}
	}
	if seen < len(ours) {
		t.Errorf("go list shows %d packages, the rules name %d", seen, len(ours))
	}
}

func checkImports(t *testing.T, pkg string, imports []string) {
	allowed, ruled := ours[pkg]
	for _, path := range imports {
		if who, ok := only[path]; ok && !slices.Contains(who, pkg) {
			t.Errorf("%s imports %s: only %v may", pkg, path, who)
		}
		dep, isOurs := strings.CutPrefix(path, module)
		switch {
		case !isOurs:
		case strings.HasPrefix(dep, "cmd/"):
			t.Errorf("%s imports %s: commands are imported by nobody", pkg, dep)
		case strings.HasPrefix(pkg, "ems/") && strings.HasPrefix(dep, "forwarder"):
			t.Errorf("%s imports %s: nothing below ems/ knows the forwarder", pkg, dep)
		case ruled && !slices.Contains(allowed, dep):
			t.Errorf("%s imports %s: it may import %v of ours", pkg, dep, allowed)
		}
	}
	if !ruled && !strings.HasPrefix(pkg, "cmd/") && !strings.HasPrefix(pkg, "bench") {
		t.Errorf("%s: no rule says what it may import; add one here and in docs/architecture.md", pkg)
	}
}
