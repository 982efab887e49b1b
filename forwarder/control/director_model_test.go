package control

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
)

// farmModel says in the plainest way what a farm's connections should do. It knows
// nothing of references, generations, registries or Snapshots.
type farmModel struct {
	r        *rand.Rand
	services map[int]*serviceModel // by port, on one VIP
	up       map[string]bool       // by service port and server
	mac      map[int]byte          // by server; 0: unknown
	macs     int
	active   bool
	next     int // client number
	kept     int // segments that went where they had to
}

type serviceModel struct {
	name      string
	scheduler string
	cutOff    bool
	servers   map[int]int // weight by server, as configured
	order     []int
	action    map[int]string // by an operator
	weight    map[int]int    // by an operator
	conns     map[string]int // server by client
}

func checkKey(port, server int) string { return fmt.Sprintf("%d/%d", port, server) }

// text is the cluster file.
func (m *farmModel) text() string {
	var b strings.Builder
	head, _, _ := strings.Cut(farm, "realservers:")
	b.WriteString(head + "realservers:\n")
	for n := 1; n <= 6; n++ {
		fmt.Fprintf(&b, "  - {name: eps%d, address: 192.168.2.%d}\n", n, 10+n)
	}
	b.WriteString("services:\n")
	for _, port := range slices.Sorted(maps.Keys(m.services)) {
		s := m.services[port]
		fmt.Fprintf(&b, "  - name: %s\n    vip: 192.168.1.100\n    ports: %d\n    scheduler: %s\n    check: {type: tcp, cut_off: %v}\n    servers:\n",
			s.name, port, s.scheduler, s.cutOff)
		for _, n := range s.order {
			fmt.Fprintf(&b, "      - {name: eps%d, weight: %d}\n", n, s.servers[n])
		}
	}
	return b.String()
}

func (m *farmModel) weightOf(s *serviceModel, n int) int {
	if w, ok := s.weight[n]; ok {
		return w
	}
	return s.servers[n]
}

// accepts tells whether a server may get new connections.
func (m *farmModel) accepts(port, n int) bool {
	s := m.services[port]
	_, there := s.servers[n]
	return there && m.mac[n] != 0 && m.up[checkKey(port, n)] && s.action[n] == "" && m.weightOf(s, n) > 0
}

// awaits tells whether some server may just have been asked for its MAC address: the
// hash, which serves connections that were given up, counts it in.
func (m *farmModel) awaits(s *serviceModel) bool {
	return slices.ContainsFunc(s.order, func(n int) bool { return m.mac[n] == 0 })
}

// keeps tells whether a server's connections live on.
func (m *farmModel) keeps(port, n int) bool {
	s := m.services[port]
	_, there := s.servers[n]
	return there && s.action[n] != "maint" && (m.up[checkKey(port, n)] || !s.cutOff)
}

func (m *farmModel) anyServer(s *serviceModel) int { return s.order[m.r.IntN(len(s.order))] }

func (m *farmModel) newService(name string) *serviceModel {
	s := &serviceModel{name: name, scheduler: "rr", servers: map[int]int{}, action: map[int]string{}, weight: map[int]int{}, conns: map[string]int{}}
	for _, n := range m.r.Perm(6)[:1+m.r.IntN(4)] {
		s.add(n+1, 1)
	}
	return s
}

func (s *serviceModel) add(n, weight int) {
	s.servers[n] = weight
	s.order = append(s.order, n)
}

// drop takes a server out, with its connections and what operators said of it.
func (s *serviceModel) drop(n int) {
	delete(s.servers, n)
	delete(s.action, n)
	delete(s.weight, n)
	s.order = slices.DeleteFunc(s.order, func(o int) bool { return o == n })
	maps.DeleteFunc(s.conns, func(_ string, on int) bool { return on == n })
}

// TestModel holds a director to the model over random changes of everything: no
// connection leaves its server unless the model says so, none goes to a server that
// may not have it, and the counts agree.
func TestModel(t *testing.T) {
	seeds := 2
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { modelRun(t, uint64(seed), 1000) })
	}
}

func modelRun(t *testing.T, seed uint64, changes int) {
	m := &farmModel{r: rand.New(rand.NewPCG(seed, 7)), services: map[int]*serviceModel{}, up: map[string]bool{}, mac: map[int]byte{}, active: true}
	for n := 1; n <= 6; n++ {
		m.mac[n] = byte(10 + n)
	}
	for port := 80; port < 84; port++ {
		for n := 1; n <= 6; n++ {
			m.up[checkKey(port, n)] = true
		}
	}
	m.services[80] = m.newService("web")
	d := newDirector(t, m.text())
	for i := range changes {
		what := m.change(d)
		d.now += flow.Tick(m.r.IntN(500))
		m.probe(d)
		if i%16 == 0 {
			m.counts(d)
		}
		if t.Failed() {
			t.Fatalf("after change %d: %s; the farm is now\n%s", i, what, m.text())
		}
	}
	t.Logf("%d connections were made and %d segments of living ones sent", m.next, m.kept)
	if m.kept < 10*changes {
		t.Error("the farm hardly had connections to lose")
	}
}

// change does one thing to the farm, in the model and in the director.
func (m *farmModel) change(d *director) (what string) {
	d.t.Helper()
	ports := slices.Sorted(maps.Keys(m.services))
	port := ports[m.r.IntN(len(ports))]
	s := m.services[port]
	n := m.anyServer(s)
	do := func(action string, weight int) string {
		if err := d.Do(ServerAction{Service: s.name, Server: fmt.Sprintf("eps%d", n), Action: action, Weight: weight}); err != nil {
			d.t.Fatal(err)
		}
		return fmt.Sprintf("eps%d of port %d: %s %d", n, port, action, weight)
	}
	reload := func(format string, args ...any) string {
		d.reload(m.text())
		return fmt.Sprintf("port %d: "+format, append([]any{port}, args...)...)
	}
	k := m.r.IntN(16)
	if !m.active && m.r.IntN(3) == 0 {
		k = 14 // not for long
	}
	switch {
	case k == 0 && len(ports) < 4:
		for port = 80; m.services[port] != nil; port++ {
		}
		m.services[port] = m.newService(fmt.Sprintf("service%d", port))
		return reload("added")
	case k == 1 && len(ports) > 1 && m.r.IntN(4) == 0:
		delete(m.services, port)
		return reload("removed")
	case k == 2:
		n = 1 + m.r.IntN(6)
		if _, there := s.servers[n]; !there {
			s.add(n, 1+m.r.IntN(3))
		}
		return reload("eps%d added", n)
	case k == 3 && len(s.order) > 1 && m.r.IntN(2) == 0:
		s.drop(n)
		return reload("eps%d removed", n)
	case k == 4:
		s.servers[n] = m.r.IntN(4)
		return reload("eps%d weighs %d", n, s.servers[n])
	case k == 5:
		m.r.Shuffle(len(s.order), func(i, j int) { s.order[i], s.order[j] = s.order[j], s.order[i] })
		s.scheduler = []string{"rr", "wrr", "lc", "wlc", "sh", "mh", "sed", "nq", "twos", "lblc"}[m.r.IntN(10)]
		return reload("in another order by %s", s.scheduler)
	case k == 6: // what operators said was of the old name
		s.name += "x"
		s.action, s.weight = map[int]string{}, map[int]int{}
		return reload("renamed to %s", s.name)
	case k == 7:
		s.cutOff = m.r.IntN(4) == 0
		return reload("cut_off %v", s.cutOff)
	case k == 8:
		action := []string{"drain", "drain", "drain", "maint"}[m.r.IntN(4)]
		s.action[n] = action
		return do(action, 0)
	case k == 9:
		delete(s.action, n)
		delete(s.weight, n)
		return do("ready", 0)
	case k == 10:
		s.weight[n] = m.r.IntN(3)
		return do("weight", s.weight[n])
	case k <= 12:
		m.up[checkKey(port, n)] = !m.up[checkKey(port, n)] || m.r.IntN(2) == 0
		return fmt.Sprintf("eps%d of port %d is up: %v", n, port, m.up[checkKey(port, n)])
	case k == 13:
		if m.mac[n] = 0; m.r.IntN(3) > 0 {
			m.macs++
			m.mac[n] = byte(20 + m.macs%200)
		}
		return fmt.Sprintf("eps%d has MAC address %d", n, m.mac[n])
	case k == 14:
		m.active = !m.active
		if err := d.SetRole(m.active); err != nil {
			d.t.Fatal(err)
		}
		return fmt.Sprintf("active: %v", m.active)
	}
	if m.r.IntN(8) == 0 { // killed and started again
		_ = d.table.Close(false)
		d.start()
		m.active = true
		for _, s := range m.services {
			s.action, s.weight = map[int]string{}, map[int]int{}
		}
		return "crash"
	}
	return reload("nothing")
}

// look gives the director the MAC addresses and health that the model has.
func (m *farmModel) look(d *director) {
	d.outside.mu.Lock()
	clear(d.macs)
	for n, a := range m.mac {
		if a != 0 {
			d.macs[netip.AddrFrom4([4]byte{192, 168, 2, byte(10 + n)})] = mac(a)
		}
	}
	clear(d.up)
	for port, s := range m.services {
		for n := range s.servers {
			d.up[s.name+"/"+fmt.Sprintf("eps%d", n)] = m.up[checkKey(port, n)]
		}
	}
	d.outside.mu.Unlock()
	d.mu2(d.refresh)
}

// probe sends a segment of every connection, and makes some new ones.
func (m *farmModel) probe(d *director) {
	d.t.Helper()
	m.look(d)
	for port, s := range m.services {
		vip := fmt.Sprintf("192.168.1.100:%d", port)
		var all []byte
		for n := range s.servers {
			if m.accepts(port, n) {
				all = append(all, m.mac[n])
			}
		}
		fits := func(to byte) bool { return slices.Contains(all, to) || to == 0 && len(all) == 0 }
		for c, n := range s.conns {
			to := d.send(c, vip, frame.ACK)
			switch {
			case !m.active:
				if to != 0 {
					d.t.Errorf("the backup forwarded %s to %d", c, to)
				}
			case !m.keeps(port, n):
				delete(s.conns, c)
				if !fits(to) && !(to == 0 && m.awaits(s)) {
					d.t.Errorf("%s was given up by eps%d and went to %d, want one of %v", c, n, to, all)
				}
			case to != m.mac[n]:
				d.t.Errorf("%s belongs to eps%d at %d and went to %d", c, n, m.mac[n], to)
			default:
				m.kept++
			}
		}
		for range m.r.IntN(4) {
			m.next++
			c := fmt.Sprintf("198.51.100.%d:%d", 1+m.next/10_000, 10_000+m.next%10_000)
			to := d.send(c, vip, frame.SYN)
			if !m.active {
				if to != 0 {
					d.t.Errorf("the backup forwarded a SYN to %d", to)
				}
				continue
			}
			if !fits(to) {
				d.t.Errorf("new connection %s went to %d, want one of %v", c, to, all)
			}
			for n := range s.servers {
				if to != 0 && m.mac[n] == to && m.accepts(port, n) {
					s.conns[c] = n
					d.send(c, vip, frame.ACK)
				}
			}
		}
		for c := range s.conns { // some end
			if m.active && m.r.IntN(40) == 0 {
				d.send(c, vip, frame.FIN|frame.ACK)
				delete(s.conns, c)
			}
		}
	}
}

// counts compares each server's count of established connections with the model's,
// and what is in the table with both.
func (m *farmModel) counts(d *director) {
	d.t.Helper()
	d.table.Sweep(0, d.table.Buckets(), d.now, NewCopy(d.Control))
	inTable := map[uint32][2]int64{}
	d.table.Range(func(_ *frame.Key, e flow.Entry, _ flow.Tick) bool {
		if e.Meta.State().Counted() {
			c := inTable[e.Meta.Backend()]
			if e.Meta.State().Active() {
				c[0]++
			} else {
				c[1]++
			}
			inTable[e.Meta.Backend()] = c
		}
		return true
	})
	var errs []error
	for _, b := range d.snap.Load().Backends {
		if b == nil {
			continue
		}
		if got := [2]int64{b.Load.Active(), b.Load.Inactive()}; got != inTable[b.Ref] {
			errs = append(errs, fmt.Errorf("%s/%s counts %v, the table has %v", b.Service.Name, b.Name, got, inTable[b.Ref]))
		}
		want := int64(0)
		for _, n := range m.services[int(b.Service.Ports[0].First)].conns {
			if b.Name == fmt.Sprintf("eps%d", n) {
				want++
			}
		}
		if got := b.Load.Active(); got != want {
			errs = append(errs, fmt.Errorf("%s/%s has %d active connections, want %d", b.Service.Name, b.Name, got, want))
		}
	}
	if err := errors.Join(errs...); err != nil {
		d.t.Error(err)
	}
}
