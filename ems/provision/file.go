package provision

import (
	"io/fs"
	"log/slog"
	"os"
	"sync"

	"github.com/svm-cluster/svm/ems/cluster"
)

// ClusterFile reads a cluster file again whenever it has changed. It is safe for
// concurrent use.
type ClusterFile struct {
	path string
	log  *slog.Logger

	mu   sync.Mutex
	seen fs.FileInfo
	last *cluster.Cluster
}

// NewClusterFile reads nothing yet.
func NewClusterFile(path string, log *slog.Logger) *ClusterFile {
	return &ClusterFile{path: path, log: log}
}

// Cluster is the file's contents: the same pointer while nothing changes, and nil
// while there is no file. One that can't be read or isn't valid leaves the last good
// one in force, and is logged.
func (f *ClusterFile) Cluster() *cluster.Cluster {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := os.Stat(f.path)
	if err != nil {
		if os.IsNotExist(err) {
			f.last = nil
		}
		f.seen = nil
		return f.last
	}
	if s := f.seen; s != nil && os.SameFile(s, now) && s.ModTime().Equal(now.ModTime()) && s.Size() == now.Size() {
		return f.last
	}
	f.seen = now
	c, err := cluster.Load(f.path)
	if err != nil {
		f.log.Warn("the cluster file isn't taken", "error", err)
		return f.last
	}
	f.last = c
	return c
}
