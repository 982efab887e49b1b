package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"aead.dev/minisign"

	"github.com/svm-cluster/svm/ems/render"
)

func TestRoundTrip(t *testing.T) {
	f := newFarm(t, 3)
	raw, sig := f.make(t)
	b, err := Open(raw, sig, f.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if b.Cluster != "shop" || b.Generation != 7 || b.Author != f.meta.Author || b.Note != f.meta.Note || !b.Time.Equal(f.meta.Time) {
		t.Errorf("read back %+v, %+v", b.Stamp, b.Meta)
	}
	if got := b.Input(); got.Digest() != f.in.Digest() || !bytes.Equal(got.YAML, f.in.YAML) || got.Generation != 7 {
		t.Errorf("Input is another one: %+v", got)
	}

	for _, node := range []string{"eds1", "eds2"} {
		cfg, signed, err := b.Director(node, f.secrets[node])
		if err != nil {
			t.Fatal(err)
		}
		want, err := render.ForDirector(f.in, node, f.secrets[node])
		if err != nil {
			t.Fatal(err)
		}
		if signed.Manifest != string(want.Manifest().Encode()) || len(cfg.Files) != len(want.Files) {
			t.Errorf("%s: other files than render's", node)
		}
	}
	part, err := b.Part("eps2")
	if err != nil {
		t.Fatal(err)
	}
	cfg, signed, err := OpenPart(part, f.key.Public(), "eps2")
	if err != nil {
		t.Fatal(err)
	}
	want, err := render.ForRealServer(f.in, "eps2")
	if err != nil {
		t.Fatal(err)
	}
	if err := want.Manifest().Verify(cfg); err != nil {
		t.Error(err)
	}
	if signed.Node != "eps2" || *signed != *b.signed("eps2") {
		t.Errorf("the part's proof isn't the bundle's")
	}
	for _, f := range cfg.Files {
		if bytes.Contains(f.Data, []byte("eps1")) || f.Secret {
			t.Errorf("%s of eps2 tells of eps1, or is secret", f.Path)
		}
	}
}

// The format is minisign's: its own verifier takes it, and so it does the comment.
func TestMinisignFormat(t *testing.T) {
	f := newFarm(t, 1)
	raw, sig := f.make(t)
	var pub minisign.PublicKey
	if err := pub.UnmarshalText([]byte("untrusted comment: minisign public key " + f.key.ID() + "\n" + f.key.Public() + "\n")); err != nil {
		t.Fatal(err)
	}
	if !minisign.Verify(pub, raw, sig) {
		t.Error("minisign doesn't verify the bundle")
	}
	var s minisign.Signature
	if err := s.UnmarshalText(sig); err != nil {
		t.Fatal(err)
	}
	if s.Algorithm != minisign.HashEdDSA || s.TrustedComment != "svm bundle: cluster shop, generation 7" {
		t.Errorf("algorithm %#x, comment %q", s.Algorithm, s.TrustedComment)
	}
	if !strings.HasPrefix(f.key.Public(), "RW") || len(f.key.Public()) != 56 {
		t.Errorf("public key %q", f.key.Public())
	}
}

func TestMakeIsDeterministic(t *testing.T) {
	f := newFarm(t, 2)
	f.in.Roster.Machines = nil // sealing is random
	raw, sig := f.make(t)
	raw2, sig2 := f.make(t)
	if !bytes.Equal(raw, raw2) || !bytes.Equal(sig, sig2) {
		t.Error("the same input gave other bytes")
	}
	g := newFarm(t, 2)
	g.key = f.key
	g.in.Roster = f.in.Roster
	g.in.Roster.Machines = []render.Machine{{Name: "eps2"}, {Name: "eps1"}}
	a, _ := g.make(t)
	g.in.Roster.Machines = []render.Machine{{Name: "eps1"}, {Name: "eps2"}}
	b, _ := g.make(t)
	if !bytes.Equal(a, b) {
		t.Error("the order of the roster counts")
	}
}

func TestMakeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*farm)
		want   string
	}{
		"no generation":    {func(f *farm) { f.in.Generation = 0 }, "generation 0"},
		"huge generation":  {func(f *farm) { f.in.Generation = MaxGeneration + 1 }, "generation 10000000000"},
		"broken file":      {func(f *farm) { f.in.YAML = []byte("cluster: [") }, "cluster.yaml"},
		"not UTF-8":        {func(f *farm) { f.in.YAML = append(f.in.YAML, "# \xff\n"...) }, "UTF-8"},
		"another key":      {func(f *farm) { f.key, _ = NewKey() }, "another station key"},
		"no secrets":       {func(f *farm) { delete(f.secrets, "eds2") }, "eds2"},
		"bad recipient":    {func(f *farm) { f.in.Roster.Machines[0].Age = "age1nonsense" }, "eds1"},
		"twice in roster":  {func(f *farm) { f.in.Roster.Machines[1].Name = "eds1" }, "twice"},
		"an endless note":  {func(f *farm) { f.meta.Note = strings.Repeat("x", maxNote+1) }, "note"},
		"an endless login": {func(f *farm) { f.meta.Author = strings.Repeat("x", maxAuthor+1) }, "author"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFarm(t, 1)
			c.change(f)
			raw, sig, err := Make(f.in, f.meta, f.secrets, f.key)
			if err == nil || raw != nil || sig != nil {
				t.Fatal("made")
			}
			if !errors.Is(err, BadInput) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q in it", err, c.want)
			}
		})
	}
}

func TestAccept(t *testing.T) {
	b := newFarm(t, 1).open(t) // shop, generation 7
	for _, c := range []struct {
		node, cluster string
		confirmed     uint64
		want          error
	}{
		{"eds1", "shop", 0, nil}, {"eps1", "shop", 6, nil}, {"", "", 0, nil},
		{"eds1", "shop", 7, SameGeneration}, {"eds1", "shop", 8, OldGeneration},
		{"eds1", "bank", 0, ForeignCluster}, {"eds1", "bank", 9, ForeignCluster}, {"eds3", "shop", 0, ForeignNode},
	} {
		err := b.Accept(c.node, c.cluster, c.confirmed)
		if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("Accept(%q, %q, %d) = %v, want %v", c.node, c.cluster, c.confirmed, err, c.want)
		}
		if err != nil && Remedy(err) == "" {
			t.Errorf("%v: no remedy", err)
		}
	}
}

func TestMembers(t *testing.T) {
	f := newFarm(t, 1)
	b := f.open(t)
	if _, err := b.Part("eds1"); !errors.Is(err, ForeignNode) {
		t.Errorf("part of a director: %v", err)
	}
	if _, err := b.Part("eps9"); !errors.Is(err, ForeignNode) {
		t.Errorf("part of nobody: %v", err)
	}
	if _, _, err := b.Director("eps1", f.secrets["eds1"]); !errors.Is(err, ForeignNode) {
		t.Errorf("a real server as director: %v", err)
	}
	// Another machine's secrets make other files than were signed.
	_, _, err := b.Director("eds1", f.secrets["eds2"])
	if !errors.Is(err, Contradictory) || !strings.Contains(err.Error(), "relay.key") {
		t.Errorf("with eds2's secrets: %v", err)
	}
}

// A director makes many real servers' parts of one bundle at once.
func TestPartsAtOnce(t *testing.T) {
	f := newFarm(t, 8)
	b := f.open(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			node := fmt.Sprintf("eps%d", i+1)
			part, err := b.Part(node)
			if err != nil {
				t.Error(err)
				return
			}
			if _, _, err := OpenPart(part, f.key.Public(), node); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
