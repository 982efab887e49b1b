package flow

import "github.com/svm-cluster/svm/forwarder/frame"

// State is where a connection stands, as far as the client's half of it tells.
// Names and moves are those of IPVS's input-only table.
type State uint8

const (
	Free        State = iota // no connection
	Established              // TCP, counted as active
	SynRecv                  // TCP, half-open
	FinWait                  // TCP, the client closed an established connection
	TimeWait                 // TCP, the client closed before it was established
	Close                    // TCP, the client reset it
	UDPNew                   // UDP, one packet seen: as unconfirmed as a half-open one
	UDP                      // UDP, more than one packet seen
	TemplateNew              // persistence, none of its connections confirmed yet
	Template                 // persistence
	Fragment                 // the fragments of one packet
	NumStates
)

var stateNames = [NumStates]string{
	"FREE", "ESTABLISHED", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE",
	"UDP", "UDP", "NONE", "NONE", "FRAGMENT",
}

// String returns the name that ipvsadm prints.
func (s State) String() string {
	if s < NumStates {
		return stateNames[s]
	}
	return "?"
}

// Active tells whether IPVS counts such a connection as active.
func (s State) Active() bool { return s == Established || s == UDP || s == UDPNew }

// Counted tells whether it is a connection at all, not a template or fragment.
func (s State) Counted() bool { return s >= Established && s <= UDP }

// Confirmed tells whether the other side can't be a mere forged packet.
func (s State) Confirmed() bool { return classOf[s] == classOther }

// Closing tells whether a SYN begins a new connection under the same key.
func (s State) Closing() bool { return s == FinWait || s == TimeWait || s == Close }

// class groups the states that share a bound.
type class uint8

const (
	classOther class = iota
	classHalfOpen
	classFragment
	numClasses
)

var classOf = [NumStates]class{SynRecv: classHalfOpen, UDPNew: classHalfOpen, TemplateNew: classHalfOpen, Fragment: classFragment}

// TCP flags index the rows, in IPVS's order of precedence.
const (
	rowNone = iota
	rowAck
	rowFin
	rowSyn
	rowRst
)

// Free stands for IPVS's NONE: the first packet that is seen of a connection.
// A first packet that is no SYN makes a half-open entry, not an established one:
// nothing has been seen yet that a flood of single segments could not forge.
var tcpMoves = [5][Close + 1]State{
	rowNone: {SynRecv, Established, SynRecv, FinWait, TimeWait, Close},
	rowAck:  {SynRecv, Established, Established, FinWait, TimeWait, Close},
	rowFin:  {Close, FinWait, TimeWait, FinWait, TimeWait, Close},
	rowSyn:  {SynRecv, Established, SynRecv, SynRecv, SynRecv, SynRecv},
	rowRst:  {Close, Close, SynRecv, Close, Close, Close},
}

// tcpRow maps the low five flag bits to a row.
var tcpRow = func() (rows [32]uint8) {
	for f := range rows {
		switch {
		case f&frame.RST != 0:
			rows[f] = rowRst
		case f&frame.SYN != 0:
			rows[f] = rowSyn
		case f&frame.FIN != 0:
			rows[f] = rowFin
		case f&frame.ACK != 0:
			rows[f] = rowAck
		}
	}
	return rows
}()

// NextTCP returns the state after a segment with these flags from the client.
// s is Free to Close.
func NextTCP(s State, flags uint8) State { return tcpMoves[tcpRow[flags&31]][s] }

// NextUDP returns the state after a datagram from the client.
func NextUDP(s State) State {
	if s == Free {
		return UDPNew
	}
	return UDP
}

// Timeouts is how long an idle entry lives in each state, in milliseconds.
type Timeouts [NumStates]uint32
