package ha

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// recv waits for the next packet of one path. An error is final.
func (t *raw) recv(path int) (packet, error) {
	for {
		s := t.socket(path)
		buf, oob := s.buf, s.oob
		var n, oobn int
		var from unix.Sockaddr
		var err error
		if e := s.conn.Read(func(fd uintptr) bool {
			n, oobn, _, from, err = unix.Recvmsg(int(fd), buf, oob, 0)
			return err != unix.EAGAIN && err != unix.EINTR
		}); e != nil {
			if t.replaced(path, s) {
				continue
			}
			return packet{}, e
		}
		if err == unix.EBADF || err == unix.ENOTSOCK {
			return packet{}, os.NewSyscallError("recvmsg", err)
		}
		if err != nil { // each is told once, such as ENETDOWN when the device goes down
			continue
		}
		p := packet{path: path}
		ok := false
		if t.paths[path].v6 {
			ok = p.read6(buf[:n], oob[:oobn], from)
		} else {
			ok = p.read4(buf[:n])
		}
		if ok {
			p.data = bytes.Clone(p.data)
			return p, nil
		}
	}
}

// replaced tells whether the path has another socket than s by now.
func (t *raw) replaced(path int, s *rawSocket) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.closed && t.sockets[path] != s
}

// read4 takes the IPv4 header off. It was checked by the kernel.
func (p *packet) read4(b []byte) bool {
	if len(b) < 20 {
		return false
	}
	head := int(b[0]&15) * 4
	if head < 20 || len(b) < head {
		return false
	}
	p.ttl = int(b[8])
	p.src, p.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	end := min(max(int(binary.BigEndian.Uint16(b[2:])), head), len(b))
	p.data = b[head:end]
	return true
}

// read6 finds destination and hop limit in the control messages.
func (p *packet) read6(b, oob []byte, from unix.Sockaddr) bool {
	sa, ok := from.(*unix.SockaddrInet6)
	if !ok {
		return false
	}
	p.data, p.src = b, netip.AddrFrom16(sa.Addr)
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return false
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level != unix.IPPROTO_IPV6:
		case m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 16:
			p.dst, _ = netip.AddrFromSlice(m.Data[:net.IPv6len])
		case m.Header.Type == unix.IPV6_HOPLIMIT && len(m.Data) >= 4:
			p.ttl = int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return p.dst.IsValid()
}
