package push

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/pkg/sftp"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/render"
)

// Names of uploads. The signature of a bundle is a file of its own, a part holds its.
func bundleName(generation uint64) string { return fmt.Sprintf("bundle-%d.json", generation) }
func sigName(generation uint64) string    { return bundleName(generation) + ".minisig" }
func partName(generation uint64) string   { return fmt.Sprintf("part-%d.json", generation) }

var (
	bundleFile = regexp.MustCompile(`^bundle-([1-9][0-9]{0,17})\.json(\.minisig)?$`)
	partFile   = regexp.MustCompile(`^part-([1-9][0-9]{0,17})\.json$`)
)

const (
	maxSig      = 4 << 10 // bytes of a signature
	keptUploads = 2       // generations whose uploads stay
	maxHandles  = 4       // open at a time in one session
)

// incoming is the one directory that SFTP reaches. Files can be written and their size
// asked for, and nothing else: no reading, no listing, no renaming, no attributes.
type incoming struct {
	root *os.Root
	kind render.Kind
	mu   sync.Mutex
	open int
}

func openIncoming(dir string, kind render.Kind) (*incoming, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("incoming: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("incoming: %w", err)
	}
	return &incoming{root: root, kind: kind}, nil
}

// parse says which generation an upload of that name belongs to, and how large it may be.
func (d *incoming) parse(name string) (generation uint64, limit int64, ok bool) {
	pattern, limit := partFile, int64(bundle.MaxPart)
	if d.kind == render.Director {
		pattern, limit = bundleFile, bundle.MaxBundle
	}
	m := pattern.FindStringSubmatch(name)
	if m == nil {
		return 0, 0, false
	}
	if len(m) > 2 && m[2] != "" {
		limit = maxSig
	}
	generation, err := strconv.ParseUint(m[1], 10, 64)
	return generation, limit, err == nil
}

// name of a file that a client may name, with or without the leading slash that the
// library puts before it.
func (d *incoming) name(p string) (name string, generation uint64, limit int64, err error) {
	name = path.Base(p)
	generation, limit, ok := d.parse(name)
	if !ok || p != "/"+name {
		return "", 0, 0, fmt.Errorf("only uploads of a generation have a place here: %w", os.ErrPermission)
	}
	return name, generation, limit, nil
}

func (d *incoming) Fileread(*sftp.Request) (io.ReaderAt, error) { return nil, os.ErrPermission }
func (d *incoming) Filecmd(*sftp.Request) error                 { return os.ErrPermission }

// Filelist answers questions for one file's size.
func (d *incoming) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	if r.Method != "Stat" {
		return nil, os.ErrPermission
	}
	return d.Lstat(r)
}

func (d *incoming) Lstat(r *sftp.Request) (sftp.ListerAt, error) {
	name, _, _, err := d.name(r.Filepath)
	if err != nil {
		return nil, err
	}
	info, err := d.root.Lstat(name)
	if err != nil {
		return nil, errno(err)
	}
	return one{info}, nil
}

type one struct{ info os.FileInfo }

func (o one) ListAt(to []os.FileInfo, at int64) (int, error) {
	if at > 0 || len(to) == 0 {
		return 0, io.EOF
	}
	to[0] = o.info
	return 1, io.EOF
}

// Filewrite opens an upload. Older generations' uploads go when a new one begins.
func (d *incoming) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	name, generation, limit, err := d.name(r.Filepath)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open >= maxHandles {
		return nil, errors.New("too many files are open")
	}
	if err := d.tidy(generation); err != nil {
		return nil, errno(err)
	}
	f, err := d.regular(name, os.O_WRONLY|os.O_CREATE)
	if err != nil {
		return nil, errno(err)
	}
	u := &upload{dir: d, f: f, limit: limit}
	if r.Pflags().Trunc {
		err = f.Truncate(0)
	} else {
		u.size, err = f.Seek(0, io.SeekEnd)
	}
	if err != nil {
		f.Close()
		return nil, errno(err)
	}
	d.open++
	return u, nil
}

// regular opens a file that is one: no link, no pipe, no device.
func (d *incoming) regular(name string, flag int) (*os.File, error) {
	before, err := d.root.Lstat(name)
	if err == nil && !before.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file: remove it from the incoming directory: %w", name, os.ErrPermission)
	}
	f, err := d.root.OpenFile(name, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	after, err := f.Stat()
	if err != nil || !after.Mode().IsRegular() || before != nil && !os.SameFile(before, after) {
		f.Close()
		return nil, fmt.Errorf("%s changed while it was opened: %w", name, os.ErrPermission)
	}
	return f, nil
}

// generations that have uploads, oldest first.
func (d *incoming) generations() ([]uint64, error) {
	dir, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	if err = errors.Join(err, dir.Close()); err != nil {
		return nil, err
	}
	var there []uint64
	for _, name := range names {
		if g, _, ok := d.parse(name); ok && !slices.Contains(there, g) {
			there = append(there, g)
		}
	}
	slices.Sort(there)
	return there, nil
}

// newest generation that has uploads; 0: none.
func (d *incoming) newest() uint64 {
	there, err := d.generations()
	if err != nil || len(there) == 0 {
		return 0
	}
	return there[len(there)-1]
}

// tidy removes uploads until, with generation, only keptUploads have any.
func (d *incoming) tidy(generation uint64) error {
	there, err := d.generations()
	if err != nil {
		return err
	}
	there = slices.DeleteFunc(there, func(g uint64) bool { return g == generation })
	for _, g := range there[:max(0, len(there)-keptUploads+1)] {
		d.remove(g)
	}
	return nil
}

// remove drops a generation's uploads.
func (d *incoming) remove(generation uint64) {
	for _, name := range []string{bundleName(generation), sigName(generation), partName(generation)} {
		_ = d.root.Remove(name) // not there: as wanted; else the next write says what is wrong
	}
}

// read returns an upload whole.
func (d *incoming) read(name string, limit int64) ([]byte, error) {
	f, err := d.regular(name, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("%s was not uploaded: %w", name, errno(err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", name, limit)
	}
	return b, err
}

// upload is one open file. Its bytes come in order, so that its size says how far it got.
type upload struct {
	dir   *incoming
	f     *os.File
	limit int64
	mu    sync.Mutex
	size  int64
}

func (u *upload) WriteAt(p []byte, at int64) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case at < 0 || at > u.size:
		return 0, errors.New("uploads are written in order")
	case at > math.MaxInt64-int64(len(p)) || at+int64(len(p)) > u.limit:
		return 0, fmt.Errorf("longer than %d bytes", u.limit)
	}
	n, err := u.f.WriteAt(p, at)
	u.size = max(u.size, at+int64(n))
	return n, errno(err)
}

// Close makes the upload durable.
func (u *upload) Close() error {
	u.dir.mu.Lock()
	u.dir.open--
	u.dir.mu.Unlock()
	err := u.f.Sync()
	return errno(errors.Join(err, u.f.Close()))
}

// errno leaves paths out of what the other side sees.
func errno(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
