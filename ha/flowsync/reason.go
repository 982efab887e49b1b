package flowsync

// Reason says why something that arrived was refused. Each is counted.
type Reason uint8

// In the order in which a datagram is looked at, the cheapest first.
const (
	Accepted  Reason = iota
	Size             // shorter than a header, longer than 1400 bytes, or odd for its kind
	Version          // not version 1
	Kind             // no kind that version 1 has
	Session          // of no session, or another one
	Replayed         // the number was seen before
	Beyond           // the number is further ahead than the window
	Forged           // does not authenticate
	Greeted          // a greeting that is answered already, or one too many
	Malformed        // authentic, but can't be read
	Role             // a record for a director that is itself active
	Unknown          // a record for a backend that isn't configured here
	NoRoom           // a record for which the table has no room
	NumReasons
)

var reasonNames = [NumReasons]string{
	"accepted", "size", "version", "kind", "session", "replayed", "beyond", "forged",
	"greeted", "malformed", "role", "unknown-backend", "no-room",
}

// String returns a name fit for a metric's label.
func (r Reason) String() string {
	if r < NumReasons {
		return reasonNames[r]
	}
	return "?"
}
