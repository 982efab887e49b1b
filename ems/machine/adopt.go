package machine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const maxAdopted = 64 << 20

// keep copies what lies at name in p to adopted/, under path and with its time and sum
// in its name, and says that name. What is there already isn't copied again, so that a
// crash leaves no second copy.
func (x *session) keep(p *place, name, path string) (string, error) {
	fi, err := p.root.Lstat(name)
	if err != nil {
		return "", trouble(p.path(name), err)
	}
	var data []byte
	link := fi.Mode()&fs.ModeSymlink != 0
	if link {
		t, err := p.root.Readlink(name)
		if err != nil {
			return "", trouble(p.path(name), err)
		}
		data = []byte(t)
	} else if data, err = p.read(name, maxAdopted); err != nil {
		return "", fmt.Errorf("it can't be kept before it is replaced: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%v %s", fi.Mode(), data))
	short := hex.EncodeToString(sum[:4])

	base := rel(path)
	if kept := x.alreadyKept(base, short); kept != "" {
		return kept, nil
	}
	kept := base + "~" + time.Now().UTC().Format("20060102T150405Z") + "~" + short
	adopted, err := x.dir.sub(adoptedDir)
	if err != nil {
		return "", err
	}
	defer adopted.close()
	if err := mkdirs(adopted, kept); err != nil {
		return "", err
	}
	if link {
		err = adopted.link(string(data), kept)
	} else {
		err = adopted.replace(kept, data, likeness(fi))
	}
	if err == nil {
		say := x.cfg.Log.Warn
		if strings.HasPrefix(path, "/etc/systemd/system/svm-") {
			say = x.cfg.Log.Info // enrolment put it there
		}
		say("a file that no configuration brought was kept before it is replaced", "file", p.path(name), "kept", adopted.path(kept))
	}
	return kept, err
}

func (x *session) alreadyKept(base, short string) string {
	d, err := x.dir.root.Open(filepath.Join(adoptedDir, filepath.Dir(base)))
	if err != nil {
		return ""
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, n := range names {
		if strings.HasPrefix(n, filepath.Base(base)+"~") && strings.HasSuffix(n, "~"+short) {
			return filepath.Join(filepath.Dir(base), n)
		}
	}
	return ""
}

// likeness is what a kept copy is besides its contents. Only root can make it another's.
func likeness(fi fs.FileInfo) attr {
	a := attr{mode: fi.Mode().Perm(), uid: -1, gid: -1, mtime: fi.ModTime()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && isRoot() {
		a.uid, a.gid = int(st.Uid), int(st.Gid)
	}
	return a
}

// restore puts a kept file back to its real path. The copy stays in adopted/.
func (x *session) restore(f takenFile) error {
	adopted, err := x.dir.sub(adoptedDir)
	if err != nil {
		return err
	}
	defer adopted.close()
	fi, err := adopted.root.Lstat(f.Kept)
	if err != nil {
		return fmt.Errorf("%s can't be put back: %w", x.host.path(f.Path), trouble(adopted.path(f.Kept), err))
	}
	if err := mkdirs(x.host, rel(f.Path)); err != nil {
		return err
	}
	if fi.Mode()&fs.ModeSymlink != 0 {
		t, err := adopted.root.Readlink(f.Kept)
		if err != nil {
			return trouble(adopted.path(f.Kept), err)
		}
		return x.host.link(t, rel(f.Path))
	}
	data, err := adopted.read(f.Kept, maxAdopted)
	if err != nil {
		return err
	}
	return x.host.replace(rel(f.Path), data, likeness(fi))
}
