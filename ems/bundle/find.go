package bundle

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Finder looks for media. The zero value looks at this machine.
type Finder struct {
	Sys string // folder of the block devices' names; default /sys/class/block
	Dev string // folder of their nodes; default /dev
}

// FindMedia lists the block devices that carry our volume label.
func FindMedia(ctx context.Context) ([]string, error) { return Finder{}.Find(ctx) }

// Find lists the block devices, whole ones and partitions, sorted by name, that carry
// our volume label. They are read, never mounted. Those that can't be read (an empty
// drive, another's disk) are passed over.
func (f Finder) Find(ctx context.Context) ([]string, error) {
	if f.Sys == "" {
		f.Sys = "/sys/class/block"
	}
	if f.Dev == "" {
		f.Dev = "/dev"
	}
	devices, err := os.ReadDir(f.Sys)
	if err != nil {
		return nil, fmt.Errorf("looking for media: %w; name the medium's path instead", err)
	}
	var found []string
	for _, d := range devices {
		if err := ctx.Err(); err != nil {
			return found, err
		}
		if attr(f.Sys, d.Name(), "size") == "0" || attr(f.Sys, d.Name(), "hidden") == "1" {
			continue
		}
		// The kernel writes a slash in a device's name as an exclamation mark.
		path := filepath.Join(f.Dev, strings.ReplaceAll(d.Name(), "!", "/"))
		if labelOf(path) == Label {
			found = append(found, path)
		}
	}
	return found, nil
}

func attr(sys, device, name string) string {
	b, err := os.ReadFile(filepath.Join(sys, device, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// labelOf is the label of the FAT volume on a device; empty if there is none.
func labelOf(path string) string {
	f, size, err := openMedium(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	v, err := openVolume(f, size)
	if err != nil {
		return ""
	}
	root, err := v.root()
	if err != nil {
		return ""
	}
	return v.label(root)
}
