package sched

import (
	"math/rand/v2"
	"testing"
)

// plainWRR goes round one server and one step of weight at a time.
type plainWRR struct {
	bs            []Backend
	at            int // -1: before the first
	need          int
	largest, step int
}

func newPlainWRR(bs []Backend) *plainWRR {
	p := &plainWRR{bs: bs, at: -1}
	var g int64
	for _, b := range bs {
		p.largest = max(p.largest, b.Weight)
		g = gcd(g, int64(b.Weight))
	}
	p.step = int(g)
	if p.largest > 0 {
		p.need = 1
	}
	return p
}

func (p *plainWRR) top() int { return p.largest - (p.step - 1) }

func (p *plainWRR) pick() int {
	if p.largest == 0 {
		return None
	}
	start := p.at
	at, stop := p.at, -2
	lastPass, wrapped := false, false
	for {
		for at++; at < len(p.bs); at++ {
			if b := p.bs[at]; b.Weight >= p.need && !b.Load.Overloaded() {
				p.at = at
				return at
			}
			if at == stop {
				p.at = at
				return None
			}
		}
		at = -1
		p.need -= p.step
		if p.need <= 0 {
			p.need = p.top()
			if lastPass || start == -1 {
				p.at = -1
				return None
			}
			wrapped = true
		}
		lastPass = p.need <= p.step
		if lastPass && wrapped && start != -1 {
			stop = start
		}
	}
}

// TestWRRTwin: the fast wrr picks what the plain one picks, and stands where it
// stands, with servers closing and opening.
func TestWRRTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for round := range 400 {
		n := 1 + rng.IntN(7)
		ws := make([]int, n)
		unit, most := 1+rng.IntN(4), 1+rng.IntN(12)
		for i := range ws {
			ws[i] = unit * rng.IntN(most)
		}
		bs := farm(ws...)
		fast := mustNew(t, Config{Name: "wrr"}, bs, nil).(*wrr)
		slow := newPlainWRR(bs)
		for step := range 300 {
			if rng.IntN(4) == 0 {
				l := bs[rng.IntN(n)].Load
				if l.Overloaded() {
					l.SetThresholds(0, 0)
				} else {
					if l.Active() == 0 {
						l.Add(1, 0)
					}
					l.SetThresholds(1, 0)
				}
			}
			got, want := fast.Pick(nil), slow.pick()
			cursor, need := unpack(fast.mark.Load())
			if got != want || int(cursor)-1 != slow.at || int(need) != slow.need {
				t.Fatalf("round %d step %d, weights %v: got %d, at %d, need %d; the plain one %d, %d, %d",
					round, step, ws, got, int(cursor)-1, need, want, slow.at, slow.need)
			}
		}
	}
}

// TestWRRFit: required weights after a reload are IPVS's.
func TestWRRFit(t *testing.T) {
	for _, c := range []struct {
		top, step, need, want uint32
	}{
		{5, 1, 3, 3}, {5, 1, 7, 5}, {7, 3, 1, 1}, {7, 3, 2, 1}, {7, 3, 3, 4}, {7, 3, 5, 4}, {7, 3, 7, 7}, {7, 3, 8, 7}, {1, 9, 4, 1},
	} {
		w := &wrr{top: c.top, step: c.step}
		if got := w.fit(c.need); got != c.want {
			t.Errorf("top %d step %d: fit(%d) = %d, want %d", c.top, c.step, c.need, got, c.want)
		}
	}
}
