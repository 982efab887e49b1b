package bundle

import (
	"bytes"
	"io/fs"

	"aead.dev/minisign"

	"github.com/svm-cluster/svm/ems/render"
)

// openManifest verifies a manifest and reads it.
func openManifest(text, sig string, pin minisign.PublicKey) (*render.Manifest, error) {
	const what = "the manifest"
	comment, err := verify(what, []byte(text), []byte(sig), pin)
	if err != nil {
		return nil, err
	}
	m, err := render.ParseManifest([]byte(text))
	if err != nil {
		return nil, refuse(Damaged, what, sendAgain, "%w", err)
	}
	if comment != manifestComment(m) {
		return nil, refuse(Contradictory, what, sendAgain, "it was signed as %q", comment)
	}
	for _, f := range m.Files {
		if m.Kind == render.RealServer && f.Secret {
			return nil, refuse(Contradictory, what, sendAgain, "it has a secret, %s, for a real server", f.Path)
		}
	}
	return m, nil
}

// Director renders the director's files and compares them with its signed manifest.
func (b *Bundle) Director(node string, s render.Secrets) (*render.Config, *Signed, error) {
	signed, err := b.machine(node, render.Director)
	if err != nil {
		return nil, nil, err
	}
	cfg, err := b.rendered.Director(node, s)
	return b.compare(cfg, err, signed)
}

// Part renders a real server's files and compares them with its signed manifest.
func (b *Bundle) Part(node string) ([]byte, error) {
	signed, err := b.machine(node, render.RealServer)
	if err != nil {
		return nil, err
	}
	cfg, err := b.rendered.RealServer(node)
	if cfg, _, err = b.compare(cfg, err, signed); err != nil {
		return nil, err
	}
	p := Part{Format: 1, Manifest: signed.Manifest, Signature: signed.Signature, Files: []PartFile{}}
	for _, f := range cfg.Files {
		p.Files = append(p.Files, PartFile{Path: f.Path, Data: f.Data})
	}
	raw, err := encode(p)
	if err == nil && len(raw) > MaxPart {
		return nil, refuse(TooLarge, "the part of "+node, "", "%d bytes, at most %d are read", len(raw), MaxPart)
	}
	return raw, err
}

func (b *Bundle) machine(node string, kind render.Kind) (*Signed, error) {
	s := b.signed(node)
	if s == nil {
		return nil, refuse(ForeignNode, "svm.json", "add it to the cluster file at the station", "cluster %s, generation %d, has no machine %q", b.Cluster, b.Generation, node)
	}
	if m, err := render.ParseManifest([]byte(s.Manifest)); err != nil || m.Kind != kind {
		return nil, refuse(ForeignNode, "svm.json", "look at its host name and at the cluster file", "%s isn't a %s", node, kind)
	}
	return s, nil
}

// compare proves rendered files by the manifest that the station signed.
func (b *Bundle) compare(cfg *render.Config, err error, s *Signed) (*render.Config, *Signed, error) {
	if err != nil {
		return nil, nil, refuse(Contradictory, "svm.json", sameVersion, "%s: %w", s.Node, err)
	}
	m, err := render.ParseManifest([]byte(s.Manifest))
	if err == nil {
		err = m.Verify(cfg)
	}
	if err != nil {
		return nil, nil, refuse(Contradictory, "svm.json", sameVersion+"; for a director, check that its secrets are this generation's",
			"what this machine makes of it for %s isn't what the station signed: %w", s.Node, err)
	}
	return cfg, s, nil
}

// OpenPart verifies a part with the pinned key, its node (if not empty) and its files.
// Nothing but the JSON around the manifest is read before the signature is proved.
func OpenPart(raw []byte, pin, node string) (*render.Config, *Signed, error) {
	const what = "the part"
	if len(raw) > MaxPart {
		return nil, nil, refuse(TooLarge, what, sendAgain, "%d bytes, at most %d are read", len(raw), MaxPart)
	}
	pub, err := parsePin(pin)
	if err != nil {
		return nil, nil, err
	}
	// The text of a manifest has one brace per file, too. Millions of empty files
	// would be small in JSON and large in memory.
	if bytes.Count(raw, []byte("{")) > 4*render.MaxFiles {
		return nil, nil, refuse(TooLarge, what, sendAgain, "it holds too many files")
	}
	var p Part
	if err := decode(what, raw, &p); err != nil {
		return nil, nil, err
	}
	m, err := openManifest(p.Manifest, p.Signature, pub)
	if err != nil {
		return nil, nil, err
	}
	if m.Kind != render.RealServer {
		return nil, nil, refuse(ForeignNode, what, sendAgain, "it is of a %s", m.Kind)
	}
	if node != "" && m.Node != node {
		return nil, nil, refuse(ForeignNode, what, "look which machine has this one's address or MAC in the cluster file", "it is for %s, this is %s", m.Node, node)
	}
	cfg := &render.Config{Stamp: m.Stamp, Node: m.Node, Kind: m.Kind}
	if len(p.Files) != len(m.Files) {
		return nil, nil, refuse(Damaged, what, sendAgain, "%d files, its manifest lists %d", len(p.Files), len(m.Files))
	}
	for i, f := range p.Files {
		e := m.Files[i]
		if f.Path != e.Path {
			return nil, nil, refuse(Damaged, what, sendAgain, "file %d isn't %s", i+1, e.Path)
		}
		cfg.Files = append(cfg.Files, render.File{Path: e.Path, Mode: fs.FileMode(e.Mode), Owner: e.Owner, Secret: e.Secret, Data: f.Data})
	}
	if err := m.Verify(cfg); err != nil {
		return nil, nil, refuse(Damaged, what, sendAgain, "%w", err)
	}
	return cfg, &Signed{Node: m.Node, Manifest: p.Manifest, Signature: p.Signature}, nil
}
