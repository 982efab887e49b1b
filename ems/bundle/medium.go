package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Label of the volume of our media.
const Label = "SVM-CONFIG"

// The names of the files on a medium. Machines read the last three only.
const (
	nameReadme    = "README.TXT"
	nameCluster   = "cluster.yaml"
	nameMachines  = "machines.txt"
	nameBundle    = "svm.json"
	nameSignature = "svm.json.minisig"
	nameSecrets   = "secrets.age"
)

// ReadImage reads a medium: an image file or a block device. It proves nothing; Open
// does. What it reads is bounded, and no kernel file system has a part in it.
func ReadImage(path string) (Medium, error) {
	f, size, err := openMedium(path)
	if err != nil {
		return Medium{}, err
	}
	defer f.Close()
	return readMedium(path, f, size)
}

func openMedium(path string) (f *os.File, size int64, err error) {
	// Looked at before it is opened: opening a pipe would wait for its other end.
	fi, err := os.Stat(path)
	if err != nil {
		return nil, 0, fmt.Errorf("reading a medium: %w", err)
	}
	if !fi.Mode().IsRegular() && !isBlock(fi) {
		return nil, 0, refuse(NoMedium, path, otherMedium, "neither a file nor a block device")
	}
	if f, err = os.Open(path); err != nil {
		return nil, 0, fmt.Errorf("reading a medium: %w", err)
	}
	if size, err = f.Seek(0, io.SeekEnd); err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("reading a medium: %w", err)
	}
	return f, size, nil
}

func isBlock(fi os.FileInfo) bool {
	return fi.Mode()&(os.ModeDevice|os.ModeCharDevice) == os.ModeDevice
}

func readMedium(what string, r io.ReaderAt, size int64) (m Medium, err error) {
	v, err := openVolume(r, size)
	if errors.Is(err, errNotFAT) {
		return m, refuse(NoMedium, what, otherMedium, "%w", err)
	} else if err != nil {
		return m, refuse(Damaged, what, sendAgain, "%w", err)
	}
	root, err := v.root()
	if err != nil {
		return m, refuse(Damaged, what, sendAgain, "its directory: %w", err)
	}
	for _, want := range []struct {
		name  string
		limit int64
		into  *[]byte
	}{
		{nameBundle, MaxBundle, &m.Bundle},
		{nameSignature, maxSignature, &m.Signature},
		{nameSecrets, maxSecrets, &m.Secrets},
	} {
		e, err := findFile(what, root, want.name)
		if err != nil {
			return Medium{}, err
		}
		if e == nil {
			continue
		}
		if int64(e.size) > want.limit {
			return Medium{}, refuse(TooLarge, want.name+" on "+what, sendAgain, "%d bytes, at most %d are read", e.size, want.limit)
		}
		if *want.into, err = v.read(e); err != nil {
			return Medium{}, refuse(Damaged, want.name+" on "+what, sendAgain, "%w", err)
		}
	}
	switch {
	case len(m.Bundle) == 0:
		return Medium{}, refuse(NoMedium, what, otherMedium, "%s isn't on it (its label is %q)", nameBundle, v.label(root))
	case len(m.Signature) == 0:
		return Medium{}, refuse(Unsigned, nameBundle+" on "+what, otherMedium, "%s isn't there", nameSignature)
	}
	return m, nil
}

// findFile finds the one file of a name; nil if there is none.
func findFile(what string, root []dirEntry, name string) (*dirEntry, error) {
	var found *dirEntry
	for i := range root {
		e := &root[i]
		if e.attr&attrVolume != 0 || !sameName(e.name, name) {
			continue
		}
		if !e.isFile() {
			return nil, refuse(Damaged, name+" on "+what, otherMedium, "it is a folder")
		}
		if found != nil {
			return nil, refuse(Damaged, name+" on "+what, otherMedium, "it is there twice, and nothing tells which one counts")
		}
		found = e
	}
	return found, nil
}
