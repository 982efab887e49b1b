package e2e

import (
	"testing"

	"github.com/svm-cluster/svm/bench/farm"
)

// testBulk moves a big file each way, with all offloads as the kernel has them by
// default: super-frames and partial checksums pass the director.
func testBulk(t *testing.T, r *rig) {
	size := int64(100 << 20)
	if testing.Short() {
		size = 10 << 20
	}
	each(t, func(t *testing.T, fam farm.Family) {
		c := r.Caller(fam)
		if _, err := c.Download(t.Context(), size); err != nil {
			t.Error(err)
		}
		before := r.received(t)
		if _, err := c.Upload(t.Context(), size); err != nil {
			t.Error(err)
		}
		// Otherwise the test shows less than it should.
		if frames := r.received(t) - before; uint64(size)/frames < 3000 {
			t.Errorf("%d bytes up took %d frames: no super-frames", size, frames)
		}
	})
	for _, w := range r.status(t).Workers {
		if w.Truncated+w.TooLong+w.Errors > 0 {
			t.Errorf("%d frames truncated, %d too long, %d errors", w.Truncated, w.TooLong, w.Errors)
		}
	}
}

// received is how many frames the director has got.
func (r *rig) received(t *testing.T) (n uint64) {
	t.Helper()
	for _, w := range r.status(t).Workers {
		n += w.Received
	}
	return n
}
