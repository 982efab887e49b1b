package pair

import (
	"context"
	"fmt"
	"sync"

	"github.com/svm-cluster/svm/bench/farm"
)

// fresh is requests one after the other, each on a connection of its own.
type fresh struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	answered int
	errs     []error
}

// keepAsking has so many requests under way at a time until stop.
func (r *rig) keepAsking(n int) *fresh {
	f := &fresh{}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	for i := range n {
		c := r.Caller(farm.Both()[i%2])
		f.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				one, done := context.WithTimeout(context.Background(), patience)
				_, _, err := c.Page(one, fmt.Sprintf("/fresh?n=%d", n))
				done()
				f.mu.Lock()
				if f.answered++; err != nil {
					f.answered--
					f.errs = append(f.errs, fmt.Errorf("new request: %w", err))
				}
				f.mu.Unlock()
			}
		})
	}
	return f
}

func (f *fresh) stop() (answered int, errs []error) {
	f.cancel()
	f.wg.Wait()
	return f.answered, f.errs
}
