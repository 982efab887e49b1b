// Package pair tries two directors as a pair: real processes in network
// namespaces, that are killed, handed over, cut off and lied to while hundreds
// of connections are open. Its tests count what broke and measure for how long
// nothing was forwarded.
package pair
