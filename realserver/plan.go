package realserver

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// StepKind says what a Step does.
type StepKind int

const (
	WriteRecord   StepKind = iota // write Record to the state file
	SetSysctl                     // Key = Value
	RestoreSysctl                 // Key = Value, unless the device is gone
	AddAddress                    // put Address on lo
	DelAddress                    // take Address off lo
	Forget                        // remove the state file
)

// Step is one change of the host. Each is atomic by itself, and taking one that
// was taken before changes nothing.
type Step struct {
	Kind       StepKind
	Key, Value string       // SetSysctl, RestoreSysctl
	Address    netip.Prefix // AddAddress, DelAddress
	Record     Record       // WriteRecord
}

// String is the shell command that does the same by hand.
func (s Step) String() string {
	switch s.Kind {
	case WriteRecord:
		return fmt.Sprintf("# write down what was there before: %d settings, %d addresses", len(s.Record.Sysctls), len(s.Record.Addresses))
	case SetSysctl, RestoreSysctl:
		return sysctlCommand(s.Key, s.Value)
	case AddAddress:
		if s.Address.Addr().Is4() {
			return "ip addr add " + s.Address.String() + " dev lo scope host"
		}
		return "ip addr add " + s.Address.String() + " dev lo nodad preferred_lft 0"
	case DelAddress:
		return "ip addr del " + s.Address.String() + " dev lo"
	case Forget:
		return "# forget what was there before"
	}
	return "# unknown step"
}

// Plan lists the steps from have to want; none when nothing is to do. It is
// pure. The order keeps two promises: what was there is on disk before it
// changes, and a VIP is never on lo while ARP would answer for it.
//
// What an earlier apply did and want no longer needs is taken back; what was
// recorded first stays recorded.
func Plan(want Config, have State) []Step {
	old := Record{Boot: have.Boot}
	if have.Record != nil {
		old = *have.Record
	}
	// after is the record when all is done; during it also holds what leaves.
	after := Record{Boot: have.Boot}
	during := newIndex(old)
	var set, add, del, restore []Step

	if want.has(false) {
		for _, k := range arpKeys(want.Device) {
			now, ok := have.Sysctls[k.key]
			if !ok {
				continue // Check says that the device is not there
			}
			target := k.target(now)
			r, recorded := during.sysctls[k.key]
			if !recorded {
				r = SysctlRecord{Key: k.key, Before: now, Set: target}
			}
			if now != target {
				r.Set = target
				set = append(set, Step{Kind: SetSysctl, Key: k.key, Value: target})
			}
			during.sysctls[k.key] = r
			after.Sysctls = append(after.Sysctls, r)
		}
	}
	for _, p := range loopback(want.VIPs) {
		present := have.onLo(p)
		r, recorded := during.addresses[p]
		if !recorded {
			r = AddressRecord{Prefix: p, WasThere: present}
		}
		if !present {
			add = append(add, Step{Kind: AddAddress, Address: p})
		}
		during.addresses[p] = r
		after.Addresses = append(after.Addresses, r)
	}

	for _, r := range old.Addresses {
		if !slices.Contains(after.Addresses, r) && !r.WasThere && have.onLo(r.Prefix) {
			del = append(del, Step{Kind: DelAddress, Address: r.Prefix})
		}
	}
	for _, r := range old.Sysctls {
		wanted := slices.ContainsFunc(after.Sysctls, func(a SysctlRecord) bool { return a.Key == r.Key })
		// Only a value that is still ours goes back: a device that was made anew,
		// or an administrator, has set another one.
		if now, ok := have.Sysctls[r.Key]; ok && !wanted && now == r.Set && now != r.Before {
			restore = append(restore, Step{Kind: RestoreSysctl, Key: r.Key, Value: r.Before})
		}
	}

	var steps []Step
	first := during.record(have.Boot)
	after.sort()
	if !first.empty() && (have.Record == nil || !first.equal(old)) {
		steps = append(steps, Step{Kind: WriteRecord, Record: first})
	}
	steps = slices.Concat(steps, set, add, del, restore)
	switch {
	case after.empty() && (have.Stale || have.Record != nil):
		steps = append(steps, Step{Kind: Forget})
	case !after.equal(first):
		steps = append(steps, Step{Kind: WriteRecord, Record: after})
	}
	return steps
}

// PlanUndo lists the steps back to what was there before the first apply. A
// record of another boot is only forgotten: the kernel has been reset since, so
// its values say nothing about this one.
func PlanUndo(have State) []Step { return Plan(Config{}, have) }

// Kept names the settings that PlanUndo leaves alone because somebody else
// changed them after apply.
func Kept(have State) []string {
	if have.Record == nil {
		return nil
	}
	var kept []string
	for _, r := range have.Record.Sysctls {
		if now, ok := have.Sysctls[r.Key]; ok && now != r.Set && now != r.Before {
			kept = append(kept, fmt.Sprintf("%s is %s, set by somebody else after apply (was %s before, apply set %s)", sysctlName(r.Key), now, r.Before, r.Set))
		}
	}
	return kept
}

// loopback returns the prefixes that lo must hold, sorted, each once.
func loopback(vips []netip.Addr) []netip.Prefix {
	var ps []netip.Prefix
	for _, a := range vips {
		ps = append(ps, netip.PrefixFrom(a, a.BitLen()))
	}
	slices.SortFunc(ps, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return slices.Compact(ps)
}

// index is a Record on its way from the old to the new one.
type index struct {
	sysctls   map[string]SysctlRecord
	addresses map[netip.Prefix]AddressRecord
}

func newIndex(r Record) index {
	i := index{map[string]SysctlRecord{}, map[netip.Prefix]AddressRecord{}}
	for _, s := range r.Sysctls {
		i.sysctls[s.Key] = s
	}
	for _, a := range r.Addresses {
		i.addresses[a.Prefix] = a
	}
	return i
}

func (i index) record(boot string) Record {
	r := Record{
		Boot:      boot,
		Sysctls:   slices.Collect(maps.Values(i.sysctls)),
		Addresses: slices.Collect(maps.Values(i.addresses)),
	}
	r.sort()
	return r
}
