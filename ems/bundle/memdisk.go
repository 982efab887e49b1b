package bundle

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/diskfs/go-diskfs/backend"
)

// memDisk is a disk in memory, as go-diskfs wants one. Images are small; made in
// memory they can be looked over before the first byte is written anywhere.
type memDisk struct{ b []byte }

var _ backend.WritableFile = (*memDisk)(nil)
var _ backend.Storage = (*memDisk)(nil)

func (d *memDisk) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(d.b)) {
		return 0, io.EOF
	}
	n := copy(p, d.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *memDisk) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(d.b)) {
		return 0, errors.New("written past the end of the image")
	}
	return copy(d.b[off:], p), nil
}

func (d *memDisk) Writable() (backend.WritableFile, error) { return d, nil }
func (d *memDisk) Path() string                            { return "" }
func (d *memDisk) Close() error                            { return nil }
func (d *memDisk) Stat() (fs.FileInfo, error)              { return nil, errors.ErrUnsupported }
func (d *memDisk) Sys() (*os.File, error)                  { return nil, errors.ErrUnsupported }
func (d *memDisk) Read([]byte) (int, error)                { return 0, errors.ErrUnsupported }
func (d *memDisk) Seek(int64, int) (int64, error)          { return 0, errors.ErrUnsupported }
