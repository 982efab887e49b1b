package bundle

import (
	"maps"
	"slices"
	"strings"

	"aead.dev/minisign"

	"github.com/svm-cluster/svm/ems/render"
)

// MaxGeneration keeps a mistake from using up all numbers: machines never go back.
const MaxGeneration = 9_999_999_999

const (
	maxAuthor = 256      // bytes
	maxNote   = 16 << 10 // bytes
)

// Open verifies sig over raw with the pinned public key first, and only then reads
// raw. What it returns is consistent: every machine of its cluster file has its signed
// manifest, all of the same stamp. Its errors are *Error.
func Open(raw, sig []byte, pin string) (*Bundle, error) {
	const what = "svm.json"
	if len(raw) > MaxBundle {
		return nil, refuse(TooLarge, what, sendAgain, "%d bytes, at most %d are read", len(raw), MaxBundle)
	}
	pub, err := parsePin(pin)
	if err != nil {
		return nil, err
	}
	comment, err := verify(what, raw, sig, pub)
	if err != nil {
		return nil, err
	}
	b := new(Bundle)
	if err := decode(what, raw, b); err != nil {
		return nil, err
	}
	if err := b.check(comment, pub); err != nil {
		return nil, err
	}
	return b, nil
}

// contradiction is a bundle that the station signed and shouldn't have.
func contradiction(format string, args ...any) *Error {
	return refuse(Contradictory, "svm.json", "commit the configuration anew at the station, and look for a newer version of SVM", format, args...)
}

func (b *Bundle) check(comment string, pin minisign.PublicKey) error {
	switch {
	case comment != bundleComment(b.Stamp):
		return contradiction("it was signed as %q", comment)
	case b.Generation == 0 || b.Generation > MaxGeneration:
		return contradiction("generation %d; they count from 1 to %d", b.Generation, uint64(MaxGeneration))
	case len(b.Author) > maxAuthor || len(b.Note) > maxNote:
		return contradiction("an author or a note of more than %d and %d bytes", maxAuthor, maxNote)
	}
	r, err := render.New(b.Input())
	if err != nil {
		return contradiction("%w", err)
	}
	b.rendered = r
	if want := r.Stamp(); b.Stamp != want {
		return contradiction("it is stamped as cluster %q, digest %.12s; its contents are of %q, digest %.12s", b.Cluster, b.Digest, want.Cluster, want.Digest)
	}
	c := r.Cluster()
	kinds := nodes(c)
	last := ""
	for i := range b.Machines {
		s := &b.Machines[i]
		if s.Node <= last {
			return contradiction("machine %q is there twice or out of order", s.Node)
		}
		last = s.Node
		if err := b.checkMachine(s, kinds, pin); err != nil {
			return err
		}
		delete(kinds, s.Node)
	}
	if len(kinds) > 0 {
		return contradiction("no manifest for %s of the cluster file", strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
	}
	return b.checkSecrets(nodes(c))
}

func (b *Bundle) checkMachine(s *Signed, kinds map[string]render.Kind, pin minisign.PublicKey) error {
	m, err := openManifest(s.Manifest, s.Signature, pin)
	if err != nil {
		return contradiction("machine %s: %w", s.Node, err)
	}
	switch kind, ok := kinds[s.Node]; {
	case !ok:
		return contradiction("machine %q isn't in the cluster file", s.Node)
	case m.Node != s.Node:
		return contradiction("machine %s has the manifest of %q", s.Node, m.Node)
	case m.Kind != kind:
		return contradiction("machine %s is a %s, its manifest is of a %q", s.Node, kind, m.Kind)
	case m.Stamp != b.Stamp:
		return contradiction("machine %s: the manifest is of cluster %s, generation %d, digest %.12s", s.Node, m.Cluster, m.Generation, m.Digest)
	}
	return nil
}

func (b *Bundle) checkSecrets(kinds map[string]render.Kind) error {
	last := ""
	for _, s := range b.Secrets {
		switch {
		case s.Node <= last:
			return contradiction("the secrets of %q are there twice or out of order", s.Node)
		case kinds[s.Node] != render.Director:
			return contradiction("it has secrets for %q, which isn't a director", s.Node)
		case len(s.Age) > maxSealed:
			return contradiction("the secrets of %s have %d bytes, at most %d are read", s.Node, len(s.Age), maxSealed)
		}
		last = s.Node
	}
	return nil
}

// Input is what the bundle was made of.
func (b *Bundle) Input() render.Input {
	return render.Input{Generation: b.Generation, YAML: []byte(b.YAML), Roster: b.Roster}
}

// Accept tells whether a machine may take b: node is its name (empty: any), name its
// cluster's (empty: it has none yet), confirmed the highest generation that it has
// confirmed (0: none). A generation that it confirmed already is SameGeneration: there
// is nothing to do.
func (b *Bundle) Accept(node, name string, confirmed uint64) error {
	const what = "svm.json"
	switch {
	case name != "" && b.Cluster != name:
		return refuse(ForeignCluster, what, otherMedium+" for "+name, "it is for cluster %s, this machine is of %s", b.Cluster, name)
	case node != "" && b.signed(node) == nil:
		return refuse(ForeignNode, what, "add the machine to the cluster file at the station, or mend its host name", "cluster %s, generation %d, has no machine %q", b.Cluster, b.Generation, node)
	case b.Generation < confirmed:
		return refuse(OldGeneration, what, "have the station write a new medium; to go back, use `svm-ems rollback` there: it makes a new generation",
			"generation %d, this machine has confirmed %d", b.Generation, confirmed)
	case b.Generation == confirmed:
		return refuse(SameGeneration, what, "nothing is to be done", "generation %d", b.Generation)
	}
	return nil
}

func (b *Bundle) signed(node string) *Signed {
	for i := range b.Machines {
		if b.Machines[i].Node == node {
			return &b.Machines[i]
		}
	}
	return nil
}
