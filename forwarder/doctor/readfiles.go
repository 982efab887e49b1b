package doctor

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func readKey(path string) (k keyState) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return keyState{missing: true}
	}
	if err != nil {
		return keyState{err: err.Error()}
	}
	if k.mode = st.Mode(); !k.mode.IsRegular() {
		return k
	}
	f, err := os.Open(path)
	if err != nil {
		k.err = err.Error()
		return k
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		k.err = err.Error()
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(raw)))
	k.digits = err == nil && len(key) == 32
	return k
}

// tmpfsMagic is statfs's type of tmpfs.
const tmpfsMagic = 0x01021994

// readState looks at the file system of the nearest folder that is there.
func readState(path string) stateDir {
	dir := filepath.Dir(path)
	for {
		st, err := os.Stat(dir)
		if err == nil && st.IsDir() {
			break
		}
		if err == nil {
			return stateDir{err: fmt.Sprintf("%s is no folder, so %s can't be made", dir, path)}
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return stateDir{err: err.Error()}
		}
		dir = filepath.Dir(dir)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return stateDir{err: fmt.Sprintf("statfs %s: %v", dir, err)}
	}
	d := stateDir{
		mount: mountOf(dir), tmpfs: int64(fs.Type) == tmpfsMagic,
		size: fs.Blocks * uint64(fs.Bsize), free: fs.Bavail * uint64(fs.Bsize),
	}
	if st, err := os.Stat(path); err == nil {
		if s, ok := st.Sys().(*syscall.Stat_t); ok {
			d.free += uint64(s.Blocks) * 512
		}
	}
	return d
}

// mountOf is where the file system of a folder is mounted.
func mountOf(dir string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return dir
	}
	best := "/"
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		at := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
		if len(at) > len(best) && (dir == at || strings.HasPrefix(dir, at+"/")) {
			best = at
		}
	}
	return best
}
