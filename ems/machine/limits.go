package machine

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/svm-cluster/svm/ems/render"
)

// What one generation of one machine may be at most. A director's bundle for 200 real
// servers is below 1 MB.
const (
	maxFiles = render.MaxFiles
	maxFile  = render.MaxFileSize
	maxTotal = 32 << 20
	maxProof = 32 << 20 // each of a Proof's parts
	maxPath  = 1024
	maxName  = 255 - len("..svm-new~20060102T150405Z~01234567")
)

// refuse checks what the store must not rely on others for.
func (s *Store) refuse(c *render.Config) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("generation %d is %w: "+format, append([]any{c.Generation, ErrRefused}, args...)...)
	}
	switch {
	case c.Generation == 0:
		return bad("generations count from 1")
	case len(c.Files) == 0:
		return bad("it has no files")
	case len(c.Files) > maxFiles:
		return bad("it has %d files, more than %d", len(c.Files), maxFiles)
	}
	total := 0
	files := make(map[string]bool, len(c.Files))
	for _, f := range c.Files {
		if why := s.badPath(f.Path); why != "" {
			return bad("path %q %s", f.Path, why)
		}
		if f.Mode&^fs.ModePerm != 0 {
			return bad("%s has mode %v: only permission bits are delivered", f.Path, f.Mode)
		}
		if len(f.Data) > maxFile {
			return bad("%s has %d bytes, more than %d", f.Path, len(f.Data), maxFile)
		}
		if files[f.Path] {
			return bad("%s is there twice", f.Path)
		}
		files[f.Path] = true
		if total += len(f.Data); total > maxTotal {
			return bad("its files have more than %d bytes together", maxTotal)
		}
	}
	for p := range files {
		for d := path.Dir(p); d != "/"; d = path.Dir(d) {
			if files[d] {
				return bad("%s is a file, and the directory of %s", d, p)
			}
		}
	}
	return nil
}

// badPath says what is wrong with a file's path, if anything.
func (s *Store) badPath(p string) string {
	switch {
	case len(p) > maxPath:
		return "is too long"
	case !path.IsAbs(p) || path.Clean(p) != p || p == "/":
		return "is not absolute and clean"
	case !utf8.ValidString(p) || strings.ContainsFunc(p, func(r rune) bool { return !unicode.IsPrint(r) || r == '\\' }):
		return "has characters that no file of ours has"
	}
	for part := range strings.SplitSeq(p[1:], "/") {
		if len(part) > maxName {
			return "has a name that is too long"
		}
		if strings.HasSuffix(part, ".svm-new") {
			return "has a name that the store uses itself"
		}
	}
	real := path.Join(s.cfg.Root, p)
	if real == s.cfg.Dir || strings.HasPrefix(real, s.cfg.Dir+"/") || strings.HasPrefix(s.cfg.Dir, real+"/") {
		return "lies in the configuration store"
	}
	return ""
}
