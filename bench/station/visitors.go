package station

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Visitors fetch pages through the VIP, one after the other each, from Visit until
// Leave.
type Visitors struct {
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu   sync.Mutex
	n    int
	by   map[string]int
	errs []error
}

// Visit sends so many visitors, who take a breath between two pages: this is an
// ordinary farm, not a benchmark.
func (f *Farm) Visit(ctx context.Context, visitors int) *Visitors {
	return f.visit(ctx, visitors, 5*time.Millisecond)
}

func (f *Farm) visit(ctx context.Context, visitors int, breath time.Duration) *Visitors {
	ctx, stop := context.WithCancel(ctx)
	v := &Visitors{stop: stop, by: map[string]int{}}
	caller := f.Caller(4)
	for range visitors {
		v.wg.Go(func() {
			for ctx.Err() == nil {
				// A request that is under way at the end is waited for.
				one, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
				_, server, err := caller.Page(one, "/")
				cancel()
				v.count(server, err)
				select {
				case <-ctx.Done():
				case <-time.After(breath):
				}
			}
		})
	}
	return v
}

func (v *Visitors) count(server string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.n++
	v.by[server]++
	if err != nil {
		v.errs = append(v.errs, fmt.Errorf("at %s: %w", time.Now().Format("15:04:05.000"), err))
	}
}

// Failures are the requests that failed so far.
func (v *Visitors) Failures() []error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.errs)
}

// Leave waits for the last requests and tells how many there were; every one that
// failed is an error.
func (v *Visitors) Leave() (int, error) {
	v.stop()
	v.wg.Wait()
	if len(v.errs) > 5 {
		return v.n, fmt.Errorf("%d of %d requests failed, the first ones: %w", len(v.errs), v.n, errors.Join(v.errs[:5]...))
	}
	return v.n, errors.Join(v.errs...)
}

// Served is how many requests the real server has answered.
func (v *Visitors) Served(name string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.by[name]
}
