package sched

// dh is destination hashing: a table of 256 buckets, dealt out to the servers in
// turn without regard to weights, and indexed by IPVS's hash of the destination
// address. A destination whose server is quiesced or overloaded gets None.
type dh struct {
	servers
	table [hashBuckets]uint16
}

func newDH(s servers, backends []Backend) *dh {
	d := &dh{servers: s}
	if len(s) == 0 {
		return d
	}
	order := byID(backends)
	for i := range d.table {
		d.table[i] = uint16(order[i%len(order)])
	}
	return d
}

func (d *dh) Pick(f *Flow) int { return d.Peek(f) }

func (d *dh) Peek(f *Flow) int {
	if len(d.servers) == 0 {
		return None
	}
	i := int(d.table[uint8(fold(f.Dst)*golden%hashBuckets)])
	if !d.servers[i].open() {
		return None
	}
	return i
}
