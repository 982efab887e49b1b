package netlab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Dial connects from inside the node, as net.Dialer.DialContext does. Addresses
// must be numeric: there is no DNS in a lab.
func (n *Node) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return n.DialFrom(ctx, network, nil, addr)
}

// DialFrom is Dial with a local address (a *net.TCPAddr or *net.UDPAddr; nil: any).
func (n *Node) DialFrom(ctx context.Context, network string, local net.Addr, addr string) (c net.Conn, err error) {
	if err := numeric(addr); err != nil {
		return nil, err
	}
	// An http.Transport goes on dialling after its request was given up: the
	// lab's end must end that, too.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.lab.ctx, cancel)()
	d := net.Dialer{LocalAddr: local, FallbackDelay: -1}
	err = n.Do(func() (err error) {
		c, err = d.DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// Listen listens inside the node. The test closes the listener.
func (n *Node) Listen(network, addr string) (ln net.Listener, err error) {
	if err := numeric(addr); err != nil {
		return nil, err
	}
	err = n.Do(func() (err error) {
		ln, err = (&net.ListenConfig{}).Listen(n.lab.ctx, network, addr)
		return err
	})
	return ln, err
}

// ListenPacket opens a datagram socket inside the node. The test closes it.
func (n *Node) ListenPacket(network, addr string) (pc net.PacketConn, err error) {
	if !strings.HasPrefix(network, "ip") {
		if err := numeric(addr); err != nil {
			return nil, err
		}
	}
	err = n.Do(func() (err error) {
		pc, err = (&net.ListenConfig{}).ListenPacket(n.lab.ctx, network, addr)
		return err
	})
	return pc, err
}

// Send puts one frame, from the Ethernet header on, onto the device's wire.
func (n *Node) Send(dev string, frame []byte) error {
	link, err := n.handle.LinkByName(dev)
	if err != nil {
		return fmt.Errorf("netlab: %s: device %s: %w", n.name, dev, err)
	}
	return n.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index})
	})
}

// numeric refuses names: looking one up would leave the node's thread.
func numeric(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return err
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return fmt.Errorf("netlab: %q: want a numeric address", addr)
	}
	return nil
}

// HTTPClient returns a client inside the node that keeps connections alive. Its
// requests time out after 30 s. Close response bodies before the test ends.
func (n *Node) HTTPClient() *http.Client { return n.httpClient(false) }

// FreshHTTPClient is HTTPClient with a new connection for every request.
func (n *Node) FreshHTTPClient() *http.Client { return n.httpClient(true) }

func (n *Node) httpClient(fresh bool) *http.Client {
	c := &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			DialContext:         n.Dial,
			DisableKeepAlives:   fresh,
			DisableCompression:  true,
			MaxIdleConnsPerHost: 256,
		},
	}
	n.lab.mu.Lock()
	n.lab.clients = append(n.lab.clients, c)
	n.lab.mu.Unlock()
	return c
}
