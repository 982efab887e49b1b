package control

import (
	"time"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

// A role that moves without a gap does so in halves, since for a moment both
// directors must forward, and only one may answer for the VIPs:
//
//	to:    Prepare (forwards), then SetRole(true) (answers, too)
//	from:  Yield (answers no more), then SetRole(false) (forwards no more)
//
// Between the halves, and until Learned, a segment in mid-connection of an unknown
// connection is dropped rather than guessed about: the other director may know it.

// Prepare makes this director forward, but not answer for the VIPs yet.
func (c *Control) Prepare() error { return c.setRole(true, true) }

// Yield makes an active director answer for the VIPs no more; it forwards on. It
// tells whether there was a role to give away.
func (c *Control) Yield() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.active || c.ended {
		return false
	}
	c.mute = true
	c.cfg.Neighbours.SetVIPs(c.cluster.VIPs(), c.cfg.ClientMAC, false)
	c.learn()
	if err := c.refresh(); err != nil {
		c.cfg.Log.Error("the state before stays in force", "err", err)
	}
	return true
}

// SetRole makes this director the active or the backup one. One whose Run has ended
// has no role to give away any more, and can't take it. Once a role is given away
// no worker does anything more that belongs to it.
func (c *Control) SetRole(active bool) error {
	if !active {
		c.drain()
	}
	return c.setRole(active, false)
}

func (c *Control) setRole(active, mute bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended && !active, c.active == active && (c.mute == mute || mute):
		return nil
	case c.active && active: // and is to speak
		if c.ended {
			return errEnded
		}
		c.mute = false
		c.cfg.Neighbours.SetVIPs(c.cluster.VIPs(), c.cfg.ClientMAC, true)
		return nil
	}
	c.learns = false
	if active {
		c.learn()
	}
	c.mute = mute
	err := c.change(c.cluster, active)
	c.mute = c.mute && c.active
	if !active {
		c.settle()
	}
	return err
}

// learn makes the next Snapshot drop what the other director may know. Call it
// with the lock held.
func (c *Control) learn() {
	c.learns, c.learnUntil = c.cfg.Learn > 0, c.cfg.Now()+flow.Tick(c.cfg.Learn/time.Millisecond)
}

// Learned says that the other director's last word about its connections has come.
func (c *Control) Learned() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.learns || c.ended {
		return nil
	}
	c.learns = false
	return c.refresh()
}

// drain, after Yield, lets nothing more in, and waits until the workers have forwarded what was:
// on a busy machine they may be behind.
func (c *Control) drain() {
	c.mu.Lock()
	if !c.mute || c.ended || c.cfg.Filter.SetFilter(pktio.Filter{}) != nil { // giving the role away tries again, and tells
		c.mu.Unlock()
		return
	}
	c.filter = pktio.Filter{}
	c.mu.Unlock()
	was := make([]uint64, len(c.cfg.Workers))
	for i, w := range c.cfg.Workers {
		if w.Emptied != nil {
			was[i] = w.Emptied()
		}
	}
	end := time.Now().Add(drainWithin)
	for i, w := range c.cfg.Workers {
		for w.Emptied != nil && w.Emptied() == was[i] && time.Now().Before(end) {
			time.Sleep(time.Millisecond)
		}
	}
}

// Bounds of the waits for a worker whose thread gets no turn.
const (
	drainWithin  = 300 * time.Millisecond
	settleWithin = 100 * time.Millisecond
)

// settle waits until every worker has finished the batch that it began under the
// Snapshot before, so that all its changes have been told.
func (c *Control) settle() {
	end := time.Now().Add(settleWithin)
	for _, w := range c.cfg.Workers {
		if w.Round == nil {
			continue
		}
		for n := w.Round(); n&1 == 1 && w.Round() == n && time.Now().Before(end); {
			time.Sleep(50 * time.Microsecond)
		}
	}
}
