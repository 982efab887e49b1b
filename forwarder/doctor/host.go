package doctor

import "strings"

// host is what was read.
type host struct {
	links   []link
	routes  []route
	sysctls map[string]string // what could be read of those that matter
	caps    uint64            // effective
	capsErr string
	key     keyState
	state   stateDir
	missing []Missing
	askErr  string  // why the director could not be asked
	errs    []error // what else could not be read
}

func (h *host) link(name string) *link {
	for i := range h.links {
		if h.links[i].name == name {
			return &h.links[i]
		}
	}
	return nil
}

// Linux's numbers of the two capabilities.
const (
	capNetAdmin = 12
	capNetRaw   = 13
)

// capabilities judges what this process may do; the daemon, started the same way,
// may do the same.
func (r *report) capabilities(h *host) {
	if h.capsErr != "" {
		r.warn("capability", "# getpcaps $$", "the capabilities are not known: %s", h.capsErr)
		return
	}
	var lacks []string
	for _, c := range []struct {
		bit  int
		name string
	}{{capNetRaw, "CAP_NET_RAW (to receive and send frames)"}, {capNetAdmin, "CAP_NET_ADMIN (to set routes)"}} {
		if h.caps&(1<<c.bit) == 0 {
			lacks = append(lacks, c.name)
		}
	}
	if lacks == nil {
		r.ok("capability", "CAP_NET_RAW and CAP_NET_ADMIN are there")
		return
	}
	r.fail("capability", `setcap cap_net_raw,cap_net_admin+ep "$(command -v svm-fwd)"`,
		"svm-fwd started like this lacks %s; the systemd unit gives it both, and so does root", strings.Join(lacks, " and "))
}

// servers passes on what the running director says.
func (r *report) servers(h *host) {
	if h.askErr != "" {
		r.warn("server", "# start svm-fwd, then ask again", "whether the real servers answer could not be checked: %s", h.askErr)
		return
	}
	for _, m := range h.missing {
		r.fail("server", "ping -c 3 "+m.Address.String(), "the running director gets no answer to ARP/NDP from %s at %s: is it on, on this segment, and is its address right?", m.Name, m.Address)
	}
	if len(h.missing) == 0 {
		r.ok("server", "the running director knows where every real server is")
	}
}
