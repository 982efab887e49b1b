package sched

// hashBuckets is the size of the tables of sh and dh.
const hashBuckets = 256

// sh is source hashing: a table of 256 buckets, dealt out to the servers in turn,
// as many at a time as the weight says, and indexed by IPVS's hash of the source
// address and, with sh-port, the source port.
//
// As in IPVS a source whose server is quiesced or overloaded gets None unless the
// fallback flag is set, and weights that add up to more than 256 starve the last
// servers: mh knows neither limit.
type sh struct {
	servers
	table          [hashBuckets]uint16
	port, fallback bool
}

func newSH(s servers, backends []Backend, set settings) *sh {
	h := &sh{servers: s, port: set.port, fallback: set.fallback}
	if len(s) == 0 {
		return h
	}
	order := byID(backends)
	at, dealt := 0, int64(0)
	for i := range h.table {
		h.table[i] = uint16(order[at])
		// A quiesced server holds a bucket of each turn too.
		if dealt++; dealt >= s[order[at]].weight {
			at, dealt = (at+1)%len(order), 0
		}
	}
	return h
}

func (h *sh) Pick(f *Flow) int { return h.Peek(f) }

func (h *sh) Peek(f *Flow) int {
	if len(h.servers) == 0 {
		return None
	}
	key := fold(f.Src)
	if h.port {
		key += uint32(f.SrcPort)
	}
	bucket := uint8(key * golden % hashBuckets)
	i := int(h.table[bucket])
	if h.servers[i].open() {
		return i
	}
	if !h.fallback {
		return None
	}
	// IPVS adds to the hash an offset that begins with the hash itself.
	for n := range hashBuckets {
		if i := int(h.table[bucket+bucket+uint8(n)]); h.servers[i].open() {
			return i
		}
	}
	return None
}
