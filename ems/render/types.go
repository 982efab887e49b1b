// Package render turns one cluster into the files of every machine. It is pure:
// the same Input gives the same bytes on the station, on a director and in a test,
// so a signature over what the station rendered also covers what a director renders.
package render

import "io/fs"

// Input is everything public that one generation is made of. It is immutable.
type Input struct {
	// Generation counts a cluster's configurations from 1; it never repeats or falls.
	Generation uint64
	YAML       []byte // the cluster file as the operator wrote it
	Roster     Roster
}

// Roster is what the station knows of the machines beyond the cluster file: public
// keys only. Machines are sorted by name.
type Roster struct {
	StationKey string    `json:"station_key"` // minisign public key, the base64 line (RW...)
	StationSSH string    `json:"station_ssh"` // the station's SSH key, as in authorized_keys
	Machines   []Machine `json:"machines"`
}

// Machine is one machine's public keys; an empty one isn't known.
type Machine struct {
	Name    string `json:"name"`
	HostKey string `json:"host_key,omitempty"` // of its sshd: "ssh-ed25519 AAAA..."
	Age     string `json:"age,omitempty"`      // age recipient that its secrets are sealed to: "age1..."
	Relay   string `json:"relay,omitempty"`    // directors: public half of Secrets.RelayKey, as in authorized_keys
}

// Secrets are one director's. They never leave the station or the machine unsealed.
type Secrets struct {
	HAKey    []byte `json:"ha_key,omitempty"` // 64 hex digits and a newline
	RelayKey []byte `json:"relay_key"`        // OpenSSH private key, PEM, for the way to the real servers
}

// Kind of a machine.
type Kind string

const (
	Director   Kind = "director"
	RealServer Kind = "realserver"
)

// Stamp names one generation. Digest is Input.Digest.
type Stamp struct {
	Cluster    string `json:"cluster"`
	Generation uint64 `json:"generation"`
	Digest     string `json:"digest"` // SHA-256 in hex
}

// File is one file of one machine.
type File struct {
	Path   string      // absolute and clean: /etc/svm/cluster.yaml
	Mode   fs.FileMode // permission bits only
	Owner  string      // user and group that own it where there is such a user; empty: root
	Secret bool        // made of Secrets
	Data   []byte
}

// Config is the whole configuration of one machine. Files are sorted by Path.
type Config struct {
	Stamp
	Node  string
	Kind  Kind
	Files []File
}

// Manifest says what a Config must be, without its contents: what the station signs.
type Manifest struct {
	Format int `json:"format"` // 1
	Stamp
	Node  string  `json:"node"`
	Kind  Kind    `json:"kind"`
	Files []Entry `json:"files"`
}

// Entry is one File without its contents.
type Entry struct {
	Path   string `json:"path"`
	Mode   uint32 `json:"mode"`
	Owner  string `json:"owner,omitempty"`
	Secret bool   `json:"secret,omitempty"`
	Size   int    `json:"size"`
	SHA256 string `json:"sha256"` // hex
}
