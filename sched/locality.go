package sched

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// IPVS's figures for what lblc and lblcr remember.
const (
	localityBuckets = 1024
	localityMax     = 16 * localityBuckets // destinations
	localityIdle    = 24 * 60 * 60         // seconds after which a destination is forgotten
	localityFull    = 6 * 60               // the same when there is no room
	localitySweep   = 60                   // seconds between two searches for room
)

// locality remembers which servers a destination address was given. Looking one
// up takes no lock and writes at most the time of use, once a second.
//
// IPVS forgets by a timer that goes through the whole table. There is no timer
// here: a destination unused for a day counts as unknown when it is looked up,
// and its memory goes when another is learned in its bucket. The table never
// grows beyond localityMax: when it is full the ones unused for six minutes go,
// and if there are none the one unused longest of the new one's bucket.
type locality struct {
	epoch   time.Time // what all seconds are counted from
	buckets [localityBuckets]atomic.Pointer[chain]
	entries atomic.Int64
	swept   atomic.Int64 // second of the last search for room
}

// chain is all of one bucket, immutable: a change replaces it.
type chain []*destination

// destination is one remembered address.
type destination struct {
	addr netip.Addr
	used atomic.Int64 // second
	set  atomic.Pointer[serverSet]
}

// serverSet is the servers of one destination, immutable, the latest first.
type serverSet struct {
	members []int32
	changed int64 // second
}

func newLocality() *locality { return &locality{epoch: time.Now()} }

// now is in seconds.
func (l *locality) now() int64 { return int64(time.Since(l.epoch) / time.Second) }

func (l *locality) bucket(a netip.Addr) *atomic.Pointer[chain] {
	return &l.buckets[fold(a)*golden%localityBuckets]
}

// find returns what is known of a, nil if nothing.
func (l *locality) find(a netip.Addr, now int64) *destination {
	c := l.bucket(a).Load()
	if c == nil {
		return nil
	}
	for _, d := range *c {
		if d.addr == a {
			if d.idle(now) >= localityIdle {
				return nil
			}
			return d
		}
	}
	return nil
}

func (d *destination) idle(now int64) int64 { return now - d.used.Load() }

func (d *destination) touch(now int64) {
	if d.used.Load() != now {
		d.used.Store(now)
	}
}

// learn remembers set for a. If another goroutine came first, it returns what
// that one wrote down, and nil otherwise.
func (l *locality) learn(a netip.Addr, now int64, set *serverSet) *destination {
	b := l.bucket(a)
	fresh := &destination{addr: a}
	fresh.used.Store(now)
	fresh.set.Store(set)
	for {
		old := b.Load()
		next := chain{fresh}
		if old != nil {
			for _, d := range *old {
				if d.idle(now) >= localityIdle {
					continue
				}
				if d.addr == a {
					return d
				}
				next = append(next, d)
			}
		}
		if !l.room(old, &next, now) {
			return nil
		}
		if b.CompareAndSwap(old, &next) {
			l.entries.Add(int64(len(next) - old.len()))
			return nil
		}
	}
}

// room sees to it that the table may grow from old to next. It returns false if
// it may not.
func (l *locality) room(old *chain, next *chain, now int64) bool {
	grown := int64(len(*next) - old.len())
	if grown <= 0 || l.entries.Load()+grown <= localityMax {
		return true
	}
	if swept := l.swept.Load(); now-swept >= localitySweep && l.swept.CompareAndSwap(swept, now) {
		l.sweep(now)
		// The bucket itself may have changed: the caller's swap then fails, and
		// it comes back here.
		if l.entries.Load()+grown <= localityMax {
			return true
		}
	}
	if len(*next) == 1 {
		return false
	}
	rest := (*next)[1:]
	oldest := 0
	for i := range rest {
		if rest[i].used.Load() < rest[oldest].used.Load() {
			oldest = i
		}
	}
	*next = slices.Delete(*next, oldest+1, oldest+2)
	return true
}

// sweep forgets what was not used for six minutes.
func (l *locality) sweep(now int64) {
	for i := range l.buckets {
		b := &l.buckets[i]
		for {
			old := b.Load()
			if old == nil {
				break
			}
			var next chain
			for _, d := range *old {
				if d.idle(now) < localityFull {
					next = append(next, d)
				}
			}
			if len(next) == len(*old) {
				break
			}
			if b.CompareAndSwap(old, &next) {
				l.entries.Add(int64(len(next) - len(*old)))
				break
			}
		}
	}
}

func (c *chain) len() int {
	if c == nil {
		return 0
	}
	return len(*c)
}

// inherit copies what prev knows, which was of the servers old, for the servers
// now. Servers that are gone leave their sets; a destination with none left is
// unknown again. Nobody else may use l yet; prev may be in use.
func (l *locality) inherit(prev *locality, old, now []string) {
	l.epoch = prev.epoch
	l.swept.Store(prev.swept.Load())
	place := make(map[string]int32, len(now))
	for i, id := range now {
		place[id] = int32(i)
	}
	second := l.now()
	for i := range prev.buckets {
		c := prev.buckets[i].Load()
		if c == nil {
			continue
		}
		var next chain
		for _, d := range *c {
			set := d.set.Load()
			kept := &serverSet{changed: set.changed}
			for _, m := range set.members {
				if p, ok := place[old[m]]; ok {
					kept.members = append(kept.members, p)
				}
			}
			if len(kept.members) == 0 || d.idle(second) >= localityIdle {
				continue
			}
			copied := &destination{addr: d.addr}
			copied.used.Store(d.used.Load())
			copied.set.Store(kept)
			next = append(next, copied)
		}
		if next != nil {
			l.buckets[i].Store(&next)
			l.entries.Add(int64(len(next)))
		}
	}
}

// crowded tells whether server i has more established connections than its
// weight while another has fewer than half of its own: then even a server that
// knows the destination is not the one to take.
func (s servers) crowded(i int) bool {
	if s[i].load.Active() <= s[i].weight {
		return false
	}
	for j := range s {
		if s[j].load.Active()*2 < s[j].weight {
			return true
		}
	}
	return false
}
