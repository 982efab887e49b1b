package health

// state is what the results so far say about one server. It is a pure value:
// no clock, no lock.
type state struct {
	known bool // at least one result has come
	up    bool
	// streak counts the results in a row that contradict up. It is 0 while the
	// state is unknown.
	streak int
}

// next returns the state after one more result, and whether up or known changed.
//
// The first result decides alone, so that a director that starts (or takes a new
// server in) neither waits rise checks before it serves nor sends clients for
// fall checks to a server that is dead. After that rise passes in a row bring
// the server up and fall failures in a row take it down; one result that agrees
// with the state starts the count afresh.
func (s state) next(pass bool, rise, fall int) (state, bool) {
	if !s.known {
		return state{known: true, up: pass}, true
	}
	if pass == s.up {
		return state{known: true, up: s.up}, false
	}
	need := fall
	if pass {
		need = rise
	}
	if s.streak+1 >= need {
		return state{known: true, up: pass}, true
	}
	s.streak++
	return s, false
}
