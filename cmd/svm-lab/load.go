package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
)

// tally is what came of the requests of one family. Safe for concurrent use.
type tally struct {
	mu       sync.Mutex
	want     int // requests to send
	done     int // answered correctly
	failed   int
	byServer map[string]int
	took     []time.Duration
	errs     []error // the first few
}

// keepErrors is how many failures are kept to be shown.
const keepErrors = 3

func newTally(want int) *tally { return &tally{want: want, byServer: map[string]int{}} }

func (t *tally) add(server string, took time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.failed++
		if len(t.errs) < keepErrors {
			t.errs = append(t.errs, err)
		}
		return
	}
	t.done++
	t.byServer[server]++
	t.took = append(t.took, took)
}

// errHopeless stands for a request that was not sent any more.
var errHopeless = errors.New("not sent: too many failed before")

func (t *tally) hopeless() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed >= giveUpAfter
}

// figures is a copy of a tally at one moment.
type figures struct {
	want, done, failed int
	byServer           map[string]int
	p50, p99           time.Duration
	errs               []error
}

func (t *tally) figures() figures {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := figures{want: t.want, done: t.done, failed: t.failed, errs: slices.Clone(t.errs), byServer: map[string]int{}}
	for k, v := range t.byServer {
		f.byServer[k] = v
	}
	if len(t.took) > 0 {
		s := slices.Clone(t.took)
		slices.Sort(s)
		f.p50, f.p99 = s[len(s)/2], s[len(s)*99/100]
	}
	return f
}

// caller sends the requests of one family.
type caller struct{ *farm.Caller }

// requestTimeout is how long one ordinary request may take. A lost SYN is sent
// again after one second, so it shows in p99 but is not yet a failure.
const requestTimeout = 10 * time.Second

// giveUpAfter is the number of failures after which a family's other requests
// are not sent any more: they count as failed, too.
const giveUpAfter = 50

// run sends the requests from several workers until all are answered, the
// context ends, or too many have failed; then the rest count as failed.
func (c *caller) run(ctx context.Context, t *tally, workers int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(t.want) {
					return
				}
				start := time.Now()
				if t.hopeless() {
					t.add("", 0, errHopeless)
					continue
				}
				server, err := c.one(ctx, int(i))
				t.add(server, time.Since(start), err)
			}
		})
	}
	wg.Wait()
}

// one sends request i: mostly small pages, now and then a download or an upload.
func (c *caller) one(ctx context.Context, i int) (server string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	switch {
	case i%20 == 7:
		return c.Download(ctx, 100_000)
	case i%20 == 17:
		return c.Upload(ctx, 50_000)
	}
	_, server, err = c.Page(ctx, fmt.Sprintf("/page?n=%d", i))
	return server, err
}
