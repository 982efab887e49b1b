package station

import "github.com/svm-cluster/svm/ems/enroll"

// Token is what a machine has to know to believe this station, with the relay keys of
// the newest generation's directors.
func (s *Station) Token() (enroll.Token, error) {
	g, err := s.Newest()
	if err != nil {
		return enroll.Token{}, err
	}
	t := enroll.Token{StationKey: s.public, StationSSH: g.Roster.StationSSH}
	for _, m := range g.Roster.Machines {
		if m.Relay != "" {
			t.Relays = append(t.Relays, m.Relay)
		}
	}
	return t, nil
}
