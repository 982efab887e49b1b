package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

const (
	recordFile  = "state.json"
	recordLimit = 4 << 20
)

// record is the store's memory and journal, one small file that is replaced in one
// step. Generations are numbers; 0 is none.
type record struct {
	Format    int       `json:"format"` // 1
	Confirmed uint64    `json:"confirmed"`
	Current   uint64    `json:"current,omitempty"`   // what current points to, unless Pending
	Previous  uint64    `json:"previous,omitempty"`  // what Rollback returns to, while Switched; 0: bare
	Staged    uint64    `json:"staged,omitempty"`    // complete and checked
	Kept      uint64    `json:"kept,omitempty"`      // the last one that was confirmed before Current
	Applied   uint64    `json:"applied,omitempty"`   // what the Activator was asked for last; not Current: it failed
	Unsettled uint64    `json:"unsettled,omitempty"` // what Settle must still take away
	Switched  bool      `json:"switched,omitempty"`  // Current isn't confirmed
	Since     time.Time `json:"since"`
	Taken     taken     `json:"taken"` // what Rollback gives back, while Switched
	Pending   *pending  `json:"pending,omitempty"`
}

// pending is what is under way.
type pending struct {
	What what   `json:"what"`
	From uint64 `json:"from"` // what ruled before; 0 is bare
	To   uint64 `json:"to"`
	// Taken is what the way from From to To takes of the host, or, on the way back, gives.
	Taken taken `json:"taken"`
}

type what string

const (
	goForth   what = "switch"
	goBack    what = "rollback" // to the last confirmed one
	takeBack  what = "undo"     // a switch failed: to what ruled before it
	goConfirm what = "confirm"
)

// taken is what was found where our files go.
type taken struct {
	Files []takenFile `json:"files,omitempty"` // others' files, replaced by ours
	Dirs  []string    `json:"dirs,omitempty"`  // directories that weren't there, parents first
}

type takenFile struct {
	Path string `json:"path"`
	Kept string `json:"kept"` // name below adopted/
}

// loadRecord reads the record of the store in p.
func loadRecord(p *place) (record, error) {
	b, err := p.read(recordFile, recordLimit)
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil || r.Format != 1 {
		return r, fmt.Errorf("%s is damaged or of a newer version (%v): if no newer SVM wrote it, move %s away and push again",
			p.path(recordFile), err, p.name)
	}
	return r, nil
}

// save makes the record durable.
func (x *session) save() error {
	b, err := json.MarshalIndent(x.rec, "", "\t")
	if err != nil {
		return err
	}
	return x.dir.replace(recordFile, append(b, '\n'), attr{mode: 0o644, uid: -1, gid: -1})
}

// change saves the record as f makes it. If that fails, memory holds what the disk does:
// a rename may be done whose sync failed.
func (x *session) change(f func(*record)) error {
	old := x.rec
	f(&x.rec)
	err := x.save()
	if err != nil {
		x.rec = old
		if r, rerr := loadRecord(x.dir); rerr == nil {
			x.rec = r
		}
	}
	return err
}

// firstRecord makes the record of a new store. One without a record that has a current
// generation lost it, and with it the memory of what must be refused.
func firstRecord(p *place) error {
	_, err := p.root.Lstat(recordFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return trouble(p.path(recordFile), err)
	}
	if _, err := p.root.Lstat(currentLink); err == nil {
		return fmt.Errorf("%s is missing, but there is a current generation: put it back, or move %s away and push again",
			p.path(recordFile), p.name)
	}
	x := session{dir: p, rec: record{Format: 1}}
	return x.save()
}
