package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
)

// testPathMTU has a client behind a narrow link. The router before it complains
// about full-size replies to their sender, the VIP; the complaint reaches the
// director, which has to find the real server behind the quoted connection.
func testPathMTU(t *testing.T, r *rig) {
	const narrow = 1400
	router3, far := r.Lab.Node("router3"), r.Lab.Node("far")
	router3.Sysctl("net.ipv4.ip_forward", "1")
	router3.Sysctl("net.ipv6.conf.all.forwarding", "1")
	const host = 253
	r.WAN.Attach(router3, "eth0", farm.Internet().Host(farm.Both(), host)...)
	r.Lab.Link(router3, "eth1", far, "eth0")
	router3.Addr("eth1", "203.0.113.1/24", "2001:db8:3::1/64")
	far.Addr("eth0", "203.0.113.2/24", "2001:db8:3::2/64")
	router3.SetMTU("eth1", narrow)
	gateways := map[farm.Family]string{4: "203.0.113.1", 6: "2001:db8:3::1"}
	addrs := map[farm.Family]string{4: "203.0.113.2", 6: "2001:db8:3::2"}
	for fam, dst := range map[farm.Family]string{4: "203.0.113.0/24", 6: "2001:db8:3::/64"} {
		r.Router1.Route(dst, farm.Internet().Addr(fam, host))
		r.Back.Route(dst, farm.Internet().Addr(fam, host))
		defer r.Router1.RouteDel(dst, farm.Internet().Addr(fam, host))
		defer r.Back.RouteDel(dst, farm.Internet().Addr(fam, host))
		router3.Route(farm.ClientNet().CIDR(fam), farm.Internet().Addr(fam, farm.Router1Host))
		far.Route("default", gateways[fam])
	}
	const size = 10 << 20
	each(t, func(t *testing.T, fam farm.Family) {
		before := r.reasons(t)
		url := fmt.Sprintf("http://%s/bytes/%d", net.JoinHostPort(r.VIP(fam), "80"), size)
		resp, err := far.FreshHTTPClient().Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		h := sha256.New()
		if n, err := io.Copy(h, resp.Body); err != nil || n != size || !bytes.Equal(h.Sum(nil), farm.ContentSum(size)) {
			t.Fatalf("%d bytes of %d came, intact or not, %v", n, size, err)
		}
		r.counts(t, "related", before)
		name := resp.Header.Get(farm.ServerHeader)
		for _, n := range r.EPS {
			mtu := pathMTU(t, n, addrs[fam])
			if n.Name() == name && mtu != narrow {
				t.Errorf("%s, which sent the file, knows MTU %d, want %d", name, mtu, narrow)
			}
			if n.Name() != name && mtu != 0 {
				t.Errorf("%s, which did not, knows MTU %d", n.Name(), mtu)
			}
		}
	})
}

// pathMTU is what a node has learned about the way to an address; 0: nothing.
func pathMTU(t *testing.T, n *netlab.Node, to string) (mtu int) {
	t.Helper()
	if err := n.Do(func() error {
		routes, err := netlink.RouteGet(net.ParseIP(to))
		for _, r := range routes {
			mtu = r.MTU
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return mtu
}
