package station

import (
	"fmt"
	"slices"
	"strings"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/render"
)

// Draft is what a generation would be made of. It may hold keys that are on no disk
// yet, of directors that are new.
type Draft struct {
	Newest  *Generation // that it would follow; nil at the first one
	Cluster *cluster.Cluster
	Input   render.Input
	Secrets map[string]render.Secrets // by director

	fresh map[string][]byte // keys to keep, by their files in the state directory
}

// Draft checks a cluster file and gathers all that goes with it; it writes nothing.
// name is what messages call the file. What is wrong with it is cluster.Problems.
func (s *Station) Draft(name string, yaml []byte) (*Draft, error) {
	c, err := cluster.Parse(name, yaml)
	if err != nil {
		return nil, err
	}
	d := &Draft{Cluster: c, fresh: map[string][]byte{}}
	number := uint64(1)
	numbers, err := s.numbers()
	if err != nil {
		return nil, err
	}
	if len(numbers) > 0 {
		if d.Newest, err = s.Newest(); err != nil {
			return nil, err
		}
		if d.Newest.Cluster != c.Name {
			return nil, fmt.Errorf("%s: it is of cluster %s, this station is of %s, and its machines obey no other: "+
				"give another cluster a station of its own (svm-ems --state DIR init)", name, c.Name, d.Newest.Cluster)
		}
		number = d.Newest.Stamp.Generation + 1
	}
	roster, err := s.Roster()
	if err != nil {
		return nil, err
	}
	if d.Secrets, err = s.secrets(c, d.fresh); err != nil {
		return nil, err
	}
	d.Input = render.Input{Generation: number, YAML: yaml, Roster: render.Roster{StationKey: s.public, StationSSH: roster.StationSSH}}
	for i := range c.RealServers {
		if m := known(roster, c.RealServers[i].Name); m != (render.Machine{Name: m.Name}) {
			m.Relay = ""
			d.Input.Roster.Machines = append(d.Input.Roster.Machines, m)
		}
	}
	for i := range c.Directors {
		m := known(roster, c.Directors[i].Name)
		if c.RealServer(m.Name) != nil {
			return nil, fmt.Errorf("%s: %s is a director and a real server: machines need names of their own", name, m.Name)
		}
		if m.Relay, err = publicHalf(d.Secrets[m.Name].RelayKey); err != nil {
			return nil, fmt.Errorf("%s/%s: %w", relayDir, m.Name, err)
		}
		d.Input.Roster.Machines = append(d.Input.Roster.Machines, m)
	}
	slices.SortFunc(d.Input.Roster.Machines, func(a, b render.Machine) int { return strings.Compare(a.Name, b.Name) })
	return d, nil
}

// known is what the roster says of a machine, maybe nothing but its name.
func known(r render.Roster, name string) render.Machine {
	for _, m := range r.Machines {
		if m.Name == name {
			return m
		}
	}
	return render.Machine{Name: name}
}
