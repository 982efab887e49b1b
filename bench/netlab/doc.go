// Package netlab makes throw-away networks out of Linux network namespaces, for
// tests, benchmarks and svm-lab. It works without root where user namespaces
// are allowed, and as root.
//
// A test package says once
//
//	func TestMain(m *testing.M) { netlab.Main(m) }
//
// so that the whole test binary runs in namespaces of its own, and then
//
//	lab := netlab.New(t)
//	client, server := lab.Node("client"), lab.Node("server")
//	sw := lab.Switch("lan")
//	sw.Attach(client, "eth0", "192.0.2.1/24", "2001:db8::1/64")
//	sw.Attach(server, "eth0", "192.0.2.2/24", "2001:db8::2/64")
//	ln, err := server.Listen("tcp", "192.0.2.2:80")
//
// Addresses are usable as soon as the call that sets them returns. Everything
// goes when the test ends; a process or a namespace that is still in use then
// is a failure of the test.
//
// Where namespaces are not allowed New skips the test with the reason; with
// SVM_REQUIRE=1 in the environment it fails.
//
// A node begins with lo up, forwarding off, rp_filter off, arp_ignore and
// arp_announce 0, no duplicate address detection and no router solicitations,
// whatever the host has.
//
// A node is watched by Capture, Counters and State, and gets processes by Start
// and Command, frames by Send, and files of its own by Bind. Its processes see its
// name as the host name.
//
// Methods without an error result end the test by t.Fatal, so they belong in
// the test's own goroutine. In a program (Enter, Open) they panic with a
// *Failure, which Lab.Try turns into an error.
package netlab
