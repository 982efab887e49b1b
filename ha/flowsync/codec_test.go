package flowsync

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/svm-cluster/svm/forwarder/flow"
)

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"IPv4 record", len((&record{state: flow.Established}).append(nil)), 16},
		{"IPv6 record", len((&record{state: flow.Established, v6: true}).append(nil)), 28},
		{"IPv4 name", len(appendName(nil, 1, &Identity{VIP: netip.MustParseAddr("1.2.3.4"), Server: netip.MustParseAddr("1.2.3.5")})), 15},
		{"IPv6 name", len(appendName(nil, 1, &Identity{VIP: netip.MustParseAddr("::1"), Server: netip.MustParseAddr("::2")})), maxNameLen},
		{"mark", len(appendPass(nil, itemBegin, 0, 1)), passLen},
		{"payload", maxPayload, 1368},
		{"greeting", helloLen, 72},
		{"reasons", len(reasonNames), int(NumReasons)},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d bytes, want %d", c.what, c.got, c.want)
		}
	}
	if got := (&record{
		state: flow.FinWait, name: 0x010203, left: 0x04050607, srcLo: mapped | 0x0a0b0c0d, src: 0x1112, dst: 0x1314,
	}).append(nil); !bytes.Equal(got, []byte{
		3, 1, 2, 3, 4, 5, 6, 7, 0x11, 0x12, 0x13, 0x14, 0x0a, 0x0b, 0x0c, 0x0d,
	}) {
		t.Errorf("IPv4 record: % x", got)
	}
}

func TestItemsComeBack(t *testing.T) {
	var want []item
	var b []byte
	for st := flow.Established; st <= flow.Template; st++ {
		for _, v6 := range []bool{false, true} {
			r := record{state: st, v6: v6, name: maxNames - 1, left: 1<<31 - 1, srcLo: mapped | 77, src: 65535, dst: 1}
			if v6 {
				r.srcHi, r.srcLo = 1<<63|5, 9
			}
			want = append(want, item{record: r})
			b = r.append(b)
		}
	}
	for n := range 4 {
		id := identity(n)
		want = append(want, item{sort: itemName, record: record{name: uint32(n)}, id: id})
		b = appendName(b, uint32(n), &id)
	}
	mixed := Identity{VIP: identity(0).VIP, Server: identity(2).Server, Proto: 6, Port: 9}
	want = append(want, item{sort: itemName, id: mixed},
		item{sort: itemBegin, flags: passWhole, want: 1 << 31}, item{sort: itemEnd, flags: passAudit, want: 7})
	b = appendName(b, 0, &mixed)
	b = appendPass(b, itemBegin, passWhole, 1<<31)
	b = appendPass(b, itemEnd, passAudit, 7)
	for i, w := range want {
		var it item
		var ok bool
		if b, ok = it.next(b); !ok || it != w {
			t.Fatalf("item %d: %+v, %v, want %+v", i, it, ok, w)
		}
	}
	if len(b) != 0 {
		t.Errorf("%d bytes left", len(b))
	}
}

func TestItemsRefused(t *testing.T) {
	good := (&record{state: flow.Established, left: 1, srcLo: mapped}).append(nil)
	with := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	id := identity(0)
	name := appendName(nil, 1, &id)
	for what, b := range map[string][]byte{
		"nothing":           {},
		"free":              with(0, 0),
		"fragment":          with(0, byte(flow.Fragment)),
		"no such state":     with(0, 15),
		"no such sort":      with(0, 0x20),
		"another":           with(0, 0xff),
		"name too large":    with(1, 0xff),
		"no time left":      with(7, 0),
		"too long a life":   with(4, 0x80),
		"half a record":     good[:15],
		"IPv6 cut short":    with(0, 0x11),
		"half a name":       name[:len(name)-1],
		"name and bad flag": append([]byte{0x84}, name[1:]...),
		"half a mark":       {itemBegin, 0, 0, 0, 0},
		"mark, bad flag":    {itemEnd, 4, 0, 0, 0, 0},
	} {
		if _, ok := new(item).next(b); ok {
			t.Errorf("%s was accepted", what)
		}
	}
}

// FuzzItems: what can be read can be written the same way, and applying it breaks
// neither the engine nor its table, whatever it says.
func FuzzItems(f *testing.F) {
	tables := newTables(f, 64)
	id := identity(0)
	b := appendName(nil, 1, &id)
	b = (&record{state: flow.Established, name: 1, left: 9, srcLo: mapped | 4, src: 1, dst: 80}).append(b)
	f.Add(appendPass(appendPass(b, itemBegin, passWhole, 1), itemEnd, passWhole, 1))
	id = identity(3)
	f.Add((&record{state: flow.UDP, v6: true, left: 1}).append(appendName(nil, 0, &id)))
	f.Fuzz(func(t *testing.T, p []byte) {
		var again []byte
		var it item
		for rest := p; len(rest) > 0; {
			before := rest
			var ok bool
			if rest, ok = it.next(rest); !ok {
				break
			}
			again = again[:0]
			switch it.sort {
			case 0:
				again = it.append(again)
			case itemName:
				again = appendName(again, it.name, &it.id)
			default:
				again = appendPass(again, it.sort, it.flags, it.want)
			}
			if !bytes.Equal(again, before[:len(before)-len(rest)]) {
				t.Fatalf("% x was read as %+v", before, it)
			}
		}
		s := newSim(t, 1, tables)
		for n := range 8 {
			s.nodes[1].book.add(identity(n), uint32(n))
		}
		s.start(1)
		e := s.nodes[1].e
		if err := e.begin(nonce{1}, s.now); err != nil {
			t.Fatal(err)
		}
		e.apply(e.session, p, s.now)
		for _, en := range s.contents(1, -1) {
			if !carried(en.state) {
				t.Fatalf("state %v was put into the table", en.state)
			}
		}
	})
}

// FuzzDatagram: nothing that lacks the key changes anything, and all of it counts.
func FuzzDatagram(f *testing.F) {
	tables := newTables(f, 64)
	s, seen := talk(f, tables)
	for _, l := range seen[:10] {
		f.Add(l.d)
	}
	f.Add([]byte{version, kindData})
	f.Add(append([]byte{version, kindStatus}, make([]byte, 40)...))
	e := s.nodes[1].e
	f.Fuzz(func(t *testing.T, d []byte) {
		was, session, count := s.contents(1, -1), e.session, arrived(e)
		e.receive(bytes.Clone(d), s.now)
		if e.session != session || arrived(e) != count+1 {
			t.Fatalf("% x: counted %d times", d, arrived(e)-count)
		}
		if now := s.contents(1, -1); len(now) != len(was) {
			t.Fatalf("% x changed the table", d)
		}
	})
}

// arrived counts what was refused, and greetings.
func arrived(e *engine) (n int) {
	n = int(e.totals.greetings)
	for r, c := range e.totals.refused {
		if Reason(r) != Greeted { // counted as a greeting
			n += int(c)
		}
	}
	return n
}
