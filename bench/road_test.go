package bench

import (
	"net/netip"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

var (
	clientAddr = netip.MustParseAddr("192.168.1.10")
	vip        = netip.MustParseAddr("192.168.1.100")
	serverAddr = netip.MustParseAddr("192.168.2.11")
)

// road is the way of a request: a client, a director and a real server in a row,
// and a cable back from the server to the client, for replies and as the shortest
// way there is.
type road struct {
	client, director, server *netlab.Node
	in                       [6]byte // the director's MAC address on the client side
	out                      [6]byte // and on the server side
	server0                  [6]byte // the server's, towards the director
	filter                   pktio.Filter
}

func newRoad(t testing.TB) *road {
	t.Helper()
	lab := netlab.New(t)
	r := &road{client: lab.Node("client"), director: lab.Node("director"), server: lab.Node("server")}
	lab.Link(r.client, "eth0", r.director, "eth0")
	lab.Link(r.director, "eth1", r.server, "eth0")
	lab.Link(r.client, "eth1", r.server, "eth1")
	r.client.Addr("eth0", clientAddr.String()+"/24")
	r.director.Addr("eth0", "192.168.1.2/24")
	r.director.Addr("eth1", "192.168.2.2/24")
	r.server.Addr("eth0", serverAddr.String()+"/24")
	r.client.Addr("eth1", "192.168.3.1/24")
	r.server.Addr("eth1", "192.168.3.2/24")
	r.server.Route(clientAddr.String(), "192.168.3.1")
	r.in, r.out = [6]byte(r.director.MAC("eth0")), [6]byte(r.director.MAC("eth1"))
	r.server0 = [6]byte(r.server.MAC("eth0"))
	r.filter = pktio.Filter{MACs: [][6]byte{r.in}, Addrs: []netip.Addr{vip}}
	return r
}

// nobody is a MAC address that no device has: the server's kernel counts a frame
// to it and drops it at once, which is the cheapest sink there is.
var nobody = [6]byte{0x02, 0x53, 0x56, 0xff, 0xff, 0xff}

// delivered is what has come in at the server so far.
func (r *road) delivered() uint64 { return r.server.Counters("eth0").RxPackets }

// flowing waits until frames arrive at the server.
func (r *road) flowing(t testing.TB) {
	t.Helper()
	from := r.delivered()
	netlab.Eventually(t, 20*time.Second, func() bool { return r.delivered() > from+1000 }, "frames arrive at the server")
}
