package netlab

import (
	"encoding/binary"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Frame is one captured frame, from the Ethernet header on.
type Frame struct {
	Time     time.Time
	Outgoing bool // sent by the node, not received
	// Data is the frame. A VLAN tag that the device took off is put back. With
	// offloads on, frames can be longer than the MTU and have partial checksums.
	Data []byte
}

// Capture collects the frames of one device in memory.
type Capture struct {
	lab  *Lab
	file *os.File
	done chan struct{}

	mu      sync.Mutex
	frames  []Frame
	dropped int
}

// Capture begins to collect all frames that the device receives and sends, until
// Stop or the lab's end. Nothing sent after it returns is missed, unless Dropped
// says so.
func (n *Node) Capture(dev string) *Capture {
	n.lab.helper()()
	index := n.Index(dev)
	var fd int
	err := n.Do(func() (err error) {
		// Protocol 0: nothing comes before the socket is bound to the device.
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		// Beyond the limit only for root; the rest take what they get.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<20)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index})
		}
		if err != nil {
			unix.Close(fd)
		}
		return err
	})
	n.lab.check(err, "%s: capture on %s", n.name, dev)
	c := &Capture{lab: n.lab, file: os.NewFile(uintptr(fd), "capture "+dev), done: make(chan struct{})}
	n.lab.mu.Lock()
	n.lab.captures = append(n.lab.captures, c)
	n.lab.mu.Unlock()
	go c.run()
	return c
}

func htons(v uint16) uint16 { return binary.NativeEndian.Uint16([]byte{byte(v >> 8), byte(v)}) }

func (c *Capture) run() {
	defer close(c.done)
	raw, err := c.file.SyscallConn()
	if err != nil {
		return
	}
	buf, oob := make([]byte, 128<<10), make([]byte, 256)
	for {
		var n, oobn int
		var from unix.Sockaddr
		var rerr error
		err := raw.Read(func(fd uintptr) bool {
			n, oobn, _, from, rerr = unix.Recvmsg(int(fd), buf, oob, 0)
			if st, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil && st.Drops > 0 {
				c.mu.Lock()
				c.dropped += int(st.Drops)
				c.mu.Unlock()
			}
			return rerr != unix.EAGAIN && rerr != unix.EINTR
		})
		if err != nil {
			return // closed
		}
		if rerr != nil {
			if rerr == unix.ENETDOWN {
				continue // told once; frames come again when the device is up
			}
			return
		}
		f := Frame{Time: time.Now(), Data: untag(buf[:n], oob[:oobn])}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok {
			f.Outgoing = ll.Pkttype == unix.PACKET_OUTGOING
		}
		c.mu.Lock()
		c.frames = append(c.frames, f)
		c.mu.Unlock()
	}
}

// untag copies the frame and puts back the VLAN tag told beside it.
func untag(frame, oob []byte) []byte {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err == nil && len(frame) >= 12 {
		for _, m := range msgs {
			// struct tpacket_auxdata: status, len, snaplen, mac, net, tci, tpid
			if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < 20 {
				continue
			}
			if binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID == 0 {
				continue
			}
			tci, tpid := binary.NativeEndian.Uint16(m.Data[16:]), binary.NativeEndian.Uint16(m.Data[18:])
			if tpid == 0 {
				tpid = unix.ETH_P_8021Q
			}
			out := append(make([]byte, 0, len(frame)+4), frame[:12]...)
			out = binary.BigEndian.AppendUint16(out, tpid)
			out = binary.BigEndian.AppendUint16(out, tci)
			return append(out, frame[12:]...)
		}
	}
	return slices.Clone(frame)
}

// Frames returns what has come so far, oldest first.
func (c *Capture) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.frames)
}

// Select returns the frames so far for which want is true.
func (c *Capture) Select(want func(Frame) bool) (out []Frame) {
	for _, f := range c.Frames() {
		if want(f) {
			out = append(out, f)
		}
	}
	return out
}

// Dropped returns how many frames the kernel could not hand over so far.
func (c *Capture) Dropped() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped
}

// Wait waits until a frame for which want is true has come and returns it; the
// test fails when none comes within the time.
func (c *Capture) Wait(t testing.TB, within time.Duration, want func(Frame) bool, msg string) Frame {
	t.Helper()
	var got []Frame
	Eventually(t, within, func() bool {
		got = c.Select(want)
		return len(got) > 0
	}, msg)
	return got[0]
}

// Stop ends the capture; what it holds stays. It may be called more than once.
func (c *Capture) Stop() {
	c.file.Close()
	<-c.done
}
