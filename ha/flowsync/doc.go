// Package flowsync keeps the backup director's connection table like the active
// one's, over one UDP socket on each side.
//
// Shape. Config and Sync are the outside: a socket, a ticker, a lock. Inside the
// lock stands engine, which knows neither sockets nor goroutines: it is told the
// time and what arrived, and hands out datagrams. Its parts are hello.go (who is
// there, with keys that only these two runs have), seal.go (one direction of a
// session), window.go (order and completeness), item.go (what a datagram carries),
// names.go (backends by number), stream.go (what the active sends) and apply.go
// (what the backup does with it).
//
// Order. Each direction of a session is one stream: datagrams are numbered, kept
// until confirmed, sent again when missing and applied in order. So an older
// record never comes after a newer one, and both sides know all names alike.
// Everything is bounded by the window; who falls behind loses changes, sees that,
// and goes through the whole table again.
//
// docs/flowsync.md has the wire format, the promises and the sizing.
package flowsync
