package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Limits of a manifest.
const (
	MaxManifest = 64 << 10 // bytes of its encoding
	MaxFiles    = 64
	MaxFileSize = 5 << 20 // bytes; a cluster file has at most 4 MiB, and its stamp
)

const manifestFormat = 1

// Manifest describes c.
func (c *Config) Manifest() *Manifest {
	m := &Manifest{Format: manifestFormat, Stamp: c.Stamp, Node: c.Node, Kind: c.Kind, Files: make([]Entry, len(c.Files))}
	for i := range c.Files {
		m.Files[i] = c.Files[i].entry()
	}
	return m
}

func (f *File) entry() Entry {
	sum := sha256.Sum256(f.Data)
	return Entry{
		Path: f.Path, Mode: uint32(f.Mode), Owner: f.Owner, Secret: f.Secret,
		Size: len(f.Data), SHA256: hex.EncodeToString(sum[:]),
	}
}

// Encode is m as canonical JSON: the bytes that are signed. One Manifest has one
// encoding, which ends with a newline.
func (m *Manifest) Encode() []byte {
	b, err := json.Marshal(m)
	if err != nil { // texts and numbers only: not reached
		panic(err)
	}
	return append(b, '\n')
}

// ParseManifest reads what Encode wrote, strictly and within limits: other bytes than
// Encode's, places where no file of ours may lie, and unlikely sizes are refused.
func ParseManifest(b []byte) (*Manifest, error) {
	if len(b) > MaxManifest {
		return nil, fmt.Errorf("manifest: %d bytes, at most %d are read: it is no manifest, or damaged", len(b), MaxManifest)
	}
	var format struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &format); err != nil {
		return nil, errors.New("manifest: it is no JSON document: damaged, deliver it again")
	}
	if format.Format != manifestFormat {
		return nil, fmt.Errorf("manifest: format %d, this program knows %d: install the station's version of SVM here", format.Format, manifestFormat)
	}
	m := new(Manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, errors.New("manifest: a value is of the wrong type: damaged, deliver it again")
	}
	if !bytes.Equal(m.Encode(), b) {
		return nil, errors.New("manifest: it isn't written as SVM writes it: damaged, or of another version of SVM")
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

// check holds for what is made as well as for what is read.
func (m *Manifest) check() error {
	switch {
	case !isLabel(m.Cluster):
		return fmt.Errorf("cluster %q is no name of a cluster", m.Cluster)
	case m.Generation == 0:
		return errors.New("generation 0: they are counted from 1")
	case !isDigest(m.Digest):
		return fmt.Errorf("digest %q: want 64 hex digits in lower case", m.Digest)
	case !isLabel(m.Node):
		return fmt.Errorf("node %q is no machine's name", m.Node)
	case m.Kind != Director && m.Kind != RealServer:
		return fmt.Errorf("kind %q: want %s or %s", m.Kind, Director, RealServer)
	case len(m.Files) == 0 || len(m.Files) > MaxFiles:
		return fmt.Errorf("%d files: want 1 to %d", len(m.Files), MaxFiles)
	}
	for i, e := range m.Files {
		if err := e.check(); err != nil {
			return err
		}
		if i == 0 {
			continue
		}
		if before := m.Files[i-1].Path; before >= e.Path {
			return fmt.Errorf("%s after %s: want each path once, in the order of their bytes", e.Path, before)
		}
		for _, o := range m.Files[:i] {
			if strings.HasPrefix(e.Path, o.Path+"/") {
				return fmt.Errorf("%s lies below %s, which is a file", e.Path, o.Path)
			}
		}
	}
	return nil
}

func (e *Entry) check() error {
	if why := pathProblem(e.Path); why != "" {
		return fmt.Errorf("path %q: %s", e.Path, why)
	}
	switch {
	case e.Mode != 0o644 && e.Mode != 0o640 && e.Mode != 0o600:
		return fmt.Errorf("%s: mode %#o: want 0644, 0640 or 0600", e.Path, e.Mode)
	case e.Secret && e.Mode != 0o600:
		return fmt.Errorf("%s: mode %#o for a secret: want 0600", e.Path, e.Mode)
	case e.Owner != "" && e.Owner != daemonUser:
		return fmt.Errorf("%s: owner %q: want root, which is left out, or %s", e.Path, e.Owner, daemonUser)
	case e.Size < 0 || e.Size > MaxFileSize:
		return fmt.Errorf("%s: %d bytes: want at most %d", e.Path, e.Size, MaxFileSize)
	case !isDigest(e.SHA256):
		return fmt.Errorf("%s: sha256 %q: want 64 hex digits in lower case", e.Path, e.SHA256)
	}
	return nil
}

// Verify compares c with what m promises: every path, mode, owner, size and digest.
// All that differs is named, contents are not.
func (m *Manifest) Verify(c *Config) error {
	var errs []error
	if m.Stamp != c.Stamp || m.Node != c.Node || m.Kind != c.Kind {
		errs = append(errs, fmt.Errorf("manifest of %s %s, cluster %s, generation %d (%s), but the files are those of %s %s, cluster %s, generation %d (%s)",
			m.Kind, m.Node, m.Cluster, m.Generation, short(m.Digest), c.Kind, c.Node, c.Cluster, c.Generation, short(c.Digest)))
	}
	have := make(map[string]*File, len(c.Files))
	for i := range c.Files {
		f := &c.Files[i]
		if have[f.Path] != nil {
			errs = append(errs, fmt.Errorf("%s is there twice", f.Path))
		}
		have[f.Path] = f
	}
	for _, want := range m.Files {
		f := have[want.Path]
		delete(have, want.Path)
		if f == nil {
			errs = append(errs, fmt.Errorf("%s is missing", want.Path))
			continue
		}
		switch got := f.entry(); {
		case got.Size != want.Size:
			errs = append(errs, fmt.Errorf("%s has %d bytes, promised are %d", want.Path, got.Size, want.Size))
		case got.SHA256 != want.SHA256:
			errs = append(errs, fmt.Errorf("%s has other contents than promised", want.Path))
		case got != want:
			errs = append(errs, fmt.Errorf("%s has mode %#o and owner %q, promised are %#o and %q", want.Path, got.Mode, got.Owner, want.Mode, want.Owner))
		}
	}
	for i := range c.Files { // in their order
		if path := c.Files[i].Path; have[path] != nil {
			errs = append(errs, fmt.Errorf("%s isn't promised", path))
		}
	}
	return errors.Join(errs...)
}

func short(digest string) string { return digest[:min(12, len(digest))] }
