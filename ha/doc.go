// Package ha decides which of two (or more) directors is the active one, by
// VRRPv3 (RFC 9568) over IPv4 and IPv6, by multicast or to unicast peers.
//
// Four layers, each of which can be used without the next: the codec (Advert,
// Parse), the seal that authenticates packets when there is a key (Keyring), the
// pure state machine (Machine), and the Runner that joins them to sockets, clocks
// and callbacks.
//
// One machine decides for the whole director: its advertisements leave on every
// link (client and server network) in every family that has VIPs, and an
// advertisement heard on any of them counts. So the networks and the families
// cannot have different active directors, as in a sync group of keepalived.
//
// docs/ha.md holds what is promised, every timer and the limits.
package ha
