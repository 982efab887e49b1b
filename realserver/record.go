package realserver

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Record is what the host was like before apply changed it: the state file.
type Record struct {
	Boot      string          `json:"boot"` // State.Boot at the time
	Sysctls   []SysctlRecord  `json:"sysctls"`
	Addresses []AddressRecord `json:"addresses"`
}

// SysctlRecord is one setting.
type SysctlRecord struct {
	Key    string `json:"key"`    // path below /proc/sys
	Before string `json:"before"` // before the first apply
	Set    string `json:"set"`    // what apply set; equal to Before if it was good
}

// AddressRecord is one VIP on lo.
type AddressRecord struct {
	Prefix   netip.Prefix `json:"prefix"`
	WasThere bool         `json:"was_there"` // before the first apply: undo keeps it
}

func (r *Record) sort() {
	slices.SortFunc(r.Sysctls, func(a, b SysctlRecord) int { return cmp.Compare(a.Key, b.Key) })
	slices.SortFunc(r.Addresses, func(a, b AddressRecord) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
}

func (r Record) empty() bool { return len(r.Sysctls) == 0 && len(r.Addresses) == 0 }

func (r Record) equal(o Record) bool {
	return r.Boot == o.Boot && slices.Equal(r.Sysctls, o.Sysctls) && slices.Equal(r.Addresses, o.Addresses)
}

// loadRecord returns nil without an error when there is no file.
func loadRecord(file string) (*Record, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("realserver: state file: %w; run as the user that ran apply, or name another with --state", err)
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("realserver: state file %s: %w; remove it if you know that lo and the ARP settings are as they should be", file, err)
	}
	for _, a := range r.Addresses {
		if !a.Prefix.IsValid() {
			return nil, fmt.Errorf("realserver: state file %s: an address is not valid; remove the file if you know that lo is as it should be", file)
		}
	}
	return &r, nil
}

// saveRecord replaces the file in one go: after a crash at any moment it is
// whole, old or new. Mode 0600. When root runs it in a directory of somebody
// else's (a unit with DynamicUser), the owner of the directory gets the file.
func saveRecord(file string, r Record) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("realserver: state file: %w; nothing is changed without it: name a writable one with --state", err)
		}
	}()
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(file)
	tmp := filepath.Join(dir, "."+filepath.Base(file)+".new") // one name: a crash leaves at most one
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	if err = f.Chmod(0o600); err == nil {
		_, err = f.Write(append(b, '\n'))
	}
	if err == nil && os.Geteuid() == 0 {
		giveAway(f, dir)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, file)
	}
	if err == nil {
		err = syncDir(dir)
	}
	return err
}

// giveAway makes the directory's owner the owner of f, as well as it can.
func giveAway(f *os.File, dir string) {
	var st unix.Stat_t
	if unix.Stat(dir, &st) == nil && st.Uid != 0 {
		_ = f.Chown(int(st.Uid), int(st.Gid))
	}
}

func removeRecord(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("realserver: state file: %w; all is undone, remove it by hand", err)
	}
	return syncDir(filepath.Dir(file))
}

// syncDir makes a rename or removal outlive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// lock keeps other processes from the same state file until unlock. It locks
// the directory, so nothing stays behind. It makes the directory if need be.
func lock(file string) (unlock func(), err error) {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("realserver: state directory: %w; make it, or name another file with --state", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("realserver: state directory: %w", err)
	}
	for {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("realserver: lock %s: %w", dir, err)
	}
	return func() { d.Close() }, nil
}
