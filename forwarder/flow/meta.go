package flow

// Meta is the changeable word of an entry: version (16 bits), 8 spare bits,
// state (8), backend (32). The version moves with every new owner of the slot, so a
// compare-and-swap on a recycled slot fails.
type Meta uint64

// MakeMeta joins the parts; the table sets the version.
func MakeMeta(s State, backend uint32) Meta { return Meta(s)<<32 | Meta(backend) }

// State returns the connection's state.
func (m Meta) State() State { return State(m >> 32) }

// Backend returns the backend's reference, as it was given to Insert.
func (m Meta) Backend() uint32 { return uint32(m) }

// With returns m in another state.
func (m Meta) With(s State) Meta { return m&^(0xff<<32) | Meta(s)<<32 }

func (m Meta) version() uint16 { return uint16(m >> 48) }

func (m Meta) next() Meta { return Meta(m.version()+1) << 48 }

// Tick is a point in time: milliseconds since the machine started, modulo 2^32.
// Points less than 24 days apart compare rightly.
type Tick uint32

// Before tells whether t is earlier than u.
func (t Tick) Before(u Tick) bool { return int32(t-u) < 0 }

// Until returns the milliseconds from t to u, negative when u is earlier.
func (t Tick) Until(u Tick) int32 { return int32(u - t) }
