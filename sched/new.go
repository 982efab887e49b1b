package sched

import (
	"fmt"
	"slices"
	"strings"
)

// maxWeight is the largest weight of a backend, as in ipvsadm.
const maxWeight = 65535

// maxBackends keeps a backend's index within 16 bits, with one value to spare.
const maxBackends = 65534

// Config says which scheduler a virtual service has.
type Config struct {
	// Name is one of Names.
	Name string
	// Flags are sh-port or mh-port (hash the source port too) and fallback,
	// sh-fallback or mh-fallback (when the hashed backend may have no
	// connection, go on to another). As in IPVS the two spellings are the same
	// flag, and schedulers other than sh and mh do not look at it.
	Flags []string
	// Key is the SipHash key of mh. Both directors must have the same one.
	Key [16]byte
	// TableSize is the number of entries of mh's table, a prime; 0 means 65537.
	TableSize int
}

// settings is what is left of a Config once its flags are read.
type settings struct {
	port, fallback bool
	key            [16]byte
	tableSize      int
}

// Names returns the names of all schedulers, sorted. The caller owns the slice.
func Names() []string {
	return []string{"dh", "fo", "lblc", "lblcr", "lc", "mh", "nq", "ovf", "rr", "sed", "sh", "twos", "wlc", "wrr"}
}

// Known tells whether New knows the scheduler.
func Known(name string) bool { return slices.Contains(Names(), name) }

// Flags returns the flags that New takes, sorted. The caller owns the slice.
func Flags() []string {
	return []string{"fallback", "mh-fallback", "mh-port", "sh-fallback", "sh-port"}
}

// New makes a scheduler over backends, which may be none; it copies the slice
// and keeps the Loads. prev is the scheduler that served the same virtual
// service until now, or nil: if it is of the same name, cursors and learned
// destinations go over to the new one by backend ID. prev stays usable and is
// not changed; what it learns after this call is not taken over.
//
// Errors: an unknown name or flag, a weight outside 0-65535, two backends of one
// ID, a nil Load, a table size that is no prime or too small.
func New(cfg Config, backends []Backend, prev Scheduler) (Scheduler, error) {
	set, err := cfg.settings()
	if err != nil {
		return nil, err
	}
	if !Known(cfg.Name) {
		return nil, fmt.Errorf("sched: no scheduler %q: %s", cfg.Name, hint(cfg.Name, Names()))
	}
	if err := check(backends); err != nil {
		return nil, fmt.Errorf("sched %s: %w", cfg.Name, err)
	}
	s := newServers(backends)
	switch cfg.Name {
	case "rr":
		return newRR(s, backends, prev), nil
	case "wrr":
		return newWRR(s, backends, prev), nil
	case "lc":
		return &lc{s}, nil
	case "wlc":
		return &wlc{s}, nil
	case "lblc":
		return newLBLC(s, backends, prev), nil
	case "lblcr":
		return newLBLCR(s, backends, prev), nil
	case "sh":
		return newSH(s, backends, set), nil
	case "dh":
		return newDH(s, backends), nil
	case "sed":
		return &sed{s}, nil
	case "nq":
		return &nq{s}, nil
	case "fo":
		return &fo{s}, nil
	case "ovf":
		return &ovf{s}, nil
	case "twos":
		return &twos{s}, nil
	default: // mh: Known has let nothing else through
		return newMH(s, backends, set)
	}
}

func (cfg *Config) settings() (settings, error) {
	set := settings{key: cfg.Key, tableSize: cfg.TableSize}
	for _, flag := range cfg.Flags {
		switch flag {
		case "sh-port", "mh-port":
			set.port = true
		case "fallback", "sh-fallback", "mh-fallback":
			set.fallback = true
		default:
			return set, fmt.Errorf("sched %s: no flag %q: %s", cfg.Name, flag, hint(flag, Flags()))
		}
	}
	return set, nil
}

func check(backends []Backend) error {
	if len(backends) > maxBackends {
		return fmt.Errorf("%d backends: at most %d fit one service; split it", len(backends), maxBackends)
	}
	seen := make(map[string]bool, len(backends))
	for i := range backends {
		b := &backends[i]
		switch {
		case b.Weight < 0 || b.Weight > maxWeight:
			return fmt.Errorf("backend %s: weight %d: want 0 to %d", b.ID, b.Weight, maxWeight)
		case b.Load == nil:
			return fmt.Errorf("backend %s: has no Load: give each backend one", b.ID)
		case seen[b.ID]:
			return fmt.Errorf("backend %s: is there twice: add up the weights in one", b.ID)
		}
		seen[b.ID] = true
	}
	return nil
}

// hint lists what there is and names the word that was probably meant.
func hint(word string, known []string) string {
	return fmt.Sprintf("did you mean %q? There are %s", nearest(word, known), strings.Join(known, ", "))
}

// nearest returns the known word that the fewest typing mistakes lead to.
func nearest(word string, known []string) string {
	best, least := "", -1
	for _, k := range known {
		if d := distance(strings.ToLower(word), k); least < 0 || d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters to insert, drop or replace to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
