// Package station is the five-machine farm with real sshd on every machine and a
// stand-in for systemd, for tests of the station: push, first boot, replacement of
// machines, crashes in between.
//
// Each machine is a node of bench/farm with /etc, /run, /root, /usr/local and
// /var/lib of its own. Its init (this same program, started again) reads the unit
// files that SVM delivers and runs them; systemctl is a link to this program, too.
// What of a unit is obeyed is listed at unit; sandboxing is not: systemd-analyze
// judges that elsewhere. main or TestMain must begin with
//
//	if station.Reborn() { return }
package station
