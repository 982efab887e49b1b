// Package bundle holds one generation for transport: a signed document (minisign)
// with the cluster file, the roster, the signed manifest of every machine and the
// directors' secrets, sealed (age); the part of it that one real server gets; and the
// floppy or USB image (FAT) that carries it.
package bundle

import (
	"time"

	"github.com/svm-cluster/svm/ems/render"
)

// Limits of what is read before anything of it is believed.
const (
	MaxBundle = 16 << 20 // bytes of a bundle
	MaxPart   = 8 << 20  // bytes of a part
)

// Meta is who made a generation, when, and why.
type Meta struct {
	Author string    `json:"author"`
	Note   string    `json:"note"`
	Time   time.Time `json:"time"` // UTC, whole seconds
}

// Bundle is one whole generation, as Open returns it: complete and proved. Everything
// in it but the secrets is public. It is immutable; many goroutines may use it.
type Bundle struct {
	Format int `json:"format"` // 1
	render.Stamp
	Meta
	YAML     string        `json:"yaml"`
	Roster   render.Roster `json:"roster"`
	Machines []Signed      `json:"machines"` // sorted by node
	Secrets  []Sealed      `json:"secrets"`  // sorted by node

	rendered *render.Renderer // of Input
}

// Signed is one machine's manifest with the station's signature.
type Signed struct {
	Node      string `json:"node"`
	Manifest  string `json:"manifest"`  // render.Manifest.Encode
	Signature string `json:"signature"` // minisign, the text of a .minisig file
}

// Sealed are one director's render.Secrets, as JSON, encrypted with age (armored) to
// the machine's key in the roster. A director without one isn't here: its secrets
// need a passphrase (see SealAll).
type Sealed struct {
	Node string `json:"node"`
	Age  string `json:"age"`
}

// Part is what one real server gets: its files, proved by the station's signature
// over their manifest. No secret is in it.
type Part struct {
	Format    int        `json:"format"` // 1
	Manifest  string     `json:"manifest"`
	Signature string     `json:"signature"`
	Files     []PartFile `json:"files"`
}

// PartFile is one file of a Part; mode and owner are in the manifest.
type PartFile struct {
	Path string `json:"path"`
	Data []byte `json:"data"` // base64 in JSON
}

// Medium is what an image holds besides the human-readable files.
type Medium struct {
	Bundle    []byte // svm.json
	Signature []byte // svm.json.minisig
	// Secrets, if not empty, is an age file (scrypt, armored): JSON of
	// map[node]render.Secrets, sealed with the operator's passphrase.
	Secrets []byte
}
