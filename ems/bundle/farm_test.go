package bundle

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/render"
)

// farm is everything that a test needs to make one generation of a cluster.
type farm struct {
	key      *Key
	in       render.Input
	meta     Meta
	secrets  map[string]render.Secrets
	identity []byte // eds1's; eds2 has none
}

func clusterYAML(name string, servers int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `cluster: %s
topology: two-router
networks:
  client: {cidr: 192.168.0.0/20, gateway: 192.168.1.1}
  server: {cidr: 10.1.0.0/16, gateway: 10.1.2.254}
station: {address: 10.1.2.5}
ha: {vrid: 51, key_file: /etc/svm/ha.key}
directors:
  - {name: eds1, priority: 200, client: {device: eth0, address: 192.168.1.2}, server: {device: eth1, address: 10.1.2.2}}
  - {name: eds2, priority: 100, client: {device: eth0, address: 192.168.1.3}, server: {device: eth1, address: 10.1.2.3}}
realservers:
`, name)
	for i := range servers {
		fmt.Fprintf(&b, "  - {name: eps%d, address: 10.1.%d.%d, device: eth0}\n", i+1, 10+i/200, 10+i%200)
	}
	b.WriteString("services:\n")
	for _, s := range []struct {
		name, vip, ports string
	}{{"web", "192.168.1.100", "[80, 443]"}, {"mail", "192.168.1.101", "25"}} {
		fmt.Fprintf(&b, "  - name: %s\n    vip: %s\n    protocol: tcp\n    ports: %s\n    scheduler: wlc\n    servers:\n", s.name, s.vip, s.ports)
		for i := range servers {
			fmt.Fprintf(&b, "      - {name: eps%d, weight: %d}\n", i+1, 1+i%3)
		}
	}
	return []byte(b.String())
}

func secretsOf(seed byte) render.Secrets {
	return render.Secrets{
		HAKey:    []byte(strings.Repeat("0a", 32) + "\n"),
		RelayKey: pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: bytes.Repeat([]byte{seed}, 300)}),
	}
}

func newFarm(t testing.TB, servers int) *farm {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	id, recipient, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	f := &farm{key: key, identity: id}
	f.in = render.Input{Generation: 7, YAML: clusterYAML("shop", servers), Roster: render.Roster{
		StationKey: key.Public(),
		Machines:   []render.Machine{{Name: "eds1", Age: recipient}, {Name: "eds2"}},
	}}
	f.meta = Meta{Author: "ada@station", Note: "more servers\nfor the sale", Time: time.Date(2026, 11, 23, 3, 0, 1, 0, time.UTC)}
	f.secrets = map[string]render.Secrets{"eds1": secretsOf(1), "eds2": secretsOf(2)}
	return f
}

func (f *farm) make(t testing.TB) (raw, sig []byte) {
	t.Helper()
	raw, sig, err := Make(f.in, f.meta, f.secrets, f.key)
	if err != nil {
		t.Fatal(err)
	}
	return raw, sig
}

func (f *farm) medium(t testing.TB) Medium {
	t.Helper()
	raw, sig := f.make(t)
	return Medium{Bundle: raw, Signature: sig}
}

func (f *farm) open(t testing.TB) *Bundle {
	t.Helper()
	raw, sig := f.make(t)
	b, err := Open(raw, sig, f.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// forge is what the station's key could sign if the station were mistaken: the bundle
// after change, signed properly.
func (f *farm) forge(t testing.TB, change func(*Bundle)) (raw, sig []byte) {
	t.Helper()
	b := f.open(t)
	change(b)
	raw, err := encode(b)
	if err != nil {
		t.Fatal(err)
	}
	return raw, f.key.sign(raw, bundleComment(b.Stamp))
}

// remanifest signs node's manifest anew after change.
func (f *farm) remanifest(t testing.TB, b *Bundle, node string, change func(*render.Manifest)) {
	t.Helper()
	s := b.signed(node)
	m, err := render.ParseManifest([]byte(s.Manifest))
	if err != nil {
		t.Fatal(err)
	}
	change(m)
	s.Manifest = string(m.Encode())
	s.Signature = string(f.key.sign([]byte(s.Manifest), manifestComment(m)))
}

// listing is all files below dir with their contents: what "nothing happened" is
// measured by.
func listing(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tool(t *testing.T, name string) {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if fi, err := os.Stat(filepath.Join(dir, name)); err == nil && fi.Mode()&0o111 != 0 {
			return
		}
	}
	if os.Getenv("SVM_REQUIRE") == "1" {
		t.Fatalf("%s isn't installed, and SVM_REQUIRE=1", name)
	}
	t.Skipf("%s isn't installed", name)
}
