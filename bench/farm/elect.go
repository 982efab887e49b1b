package farm

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

const keyName = "ha.key"

func (f *Farm) keyed() bool { return f.Elect && !f.NoKey }

// makeKey gives each director the same new key.
func (f *Farm) makeKey() error {
	if !f.keyed() {
		return nil
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // it never fails
	for _, n := range f.EDS {
		if err := os.WriteFile(f.Path(n, keyName), fmt.Appendf(nil, "%x\n", key), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// keyFile is the key's part of the mapping ha.
func (f *Farm) keyFile() string {
	if !f.keyed() {
		return ""
	}
	return fmt.Sprintf(", key_file: %q", filepath.Join(f.Own(), keyName))
}

// Pair is what svm-fwd ha show tells of one director.
type Pair struct {
	HA struct {
		Role, Why     string
		Authenticated bool
		Received      map[string]uint64
		Transitions   uint64
		Reports       map[string]uint64
	}
	Sync *struct {
		Session    bool              `json:"session"`
		Synced     bool              `json:"synced"`
		PeerSynced bool              `json:"peer_synced"`
		Refused    map[string]uint64 `json:"refused"`
	}
}

// Pair asks the i-th director about the pair.
func (f *Farm) Pair(ctx context.Context, i int) (p Pair, err error) {
	out, err := f.Forward(ctx, i, "ha", "show", "-j")
	if err == nil {
		err = json.Unmarshal([]byte(out), &p)
	}
	return p, err
}

// Copied waits until the i-th director, the backup, has all connections of the
// active one.
func (f *Farm) Copied(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	var last error
	err := Await(ctx, func() bool {
		if f.Dead() != nil {
			return true
		}
		p, err := f.Pair(ctx, i)
		if ctx.Err() == nil {
			last = err
		}
		return err == nil && p.Sync != nil && p.Sync.Synced
	})
	if dead := f.Dead(); dead != nil {
		return dead
	}
	if err != nil {
		return fmt.Errorf("svm-fwd on %s has not copied all connections within %s (%v)", f.EDS[i].Name(), readyWithin, last)
	}
	return nil
}

// Kill ends the i-th director's svm-fwd with SIGKILL.
func (f *Farm) Kill(i int) error {
	at := slices.IndexFunc(f.daemons, func(d daemon) bool { return d.title == "svm-fwd of "+f.EDS[i].Name() })
	if at < 0 {
		return fmt.Errorf("no svm-fwd runs on %s", f.EDS[i].Name())
	}
	c := f.daemons[at].cmd
	f.Release(c)
	c.Kill()
	return nil
}
