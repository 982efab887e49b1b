package ha

import "sync"

// calls runs callbacks one at a time, in order, so that a slow one never delays
// the heartbeat.
type calls struct {
	mu     sync.Mutex
	more   *sync.Cond
	queue  []func()
	closed bool
}

func newCalls() *calls {
	c := &calls{}
	c.more = sync.NewCond(&c.mu)
	return c
}

func (c *calls) add(f func()) {
	c.mu.Lock()
	c.queue = append(c.queue, f)
	c.mu.Unlock()
	c.more.Signal()
}

// close lets run end when the queue is empty.
func (c *calls) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.more.Signal()
}

func (c *calls) run() {
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.closed {
			c.more.Wait()
		}
		if len(c.queue) == 0 {
			c.mu.Unlock()
			return
		}
		f := c.queue[0]
		c.queue = c.queue[1:]
		c.mu.Unlock()
		f()
	}
}
