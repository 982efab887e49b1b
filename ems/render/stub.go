package render

import "errors"

var errStub = errors.New("render: not written yet")

// Digest is the SHA-256, in hex, of the cluster file's bytes and the roster.
func (in Input) Digest() string { return "" }

// ForDirector renders the files of the director node.
func ForDirector(in Input, node string, s Secrets) (*Config, error) { return nil, errStub }

// ForRealServer renders the files of the real server node: only its own part.
func ForRealServer(in Input, node string) (*Config, error) { return nil, errStub }

// BaseUnits are the units that a machine of the kind needs before its first configuration.
func BaseUnits(k Kind) []File { return nil }

// Manifest describes c.
func (c *Config) Manifest() *Manifest { return nil }

// Encode is m as canonical JSON: the bytes that are signed.
func (m *Manifest) Encode() []byte { return nil }

// ParseManifest reads what Encode wrote, strictly and within limits.
func ParseManifest(b []byte) (*Manifest, error) { return nil, errStub }

// Verify compares c with what m promises: every path, mode, owner, size and digest.
func (m *Manifest) Verify(c *Config) error { return errStub }
