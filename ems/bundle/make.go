package bundle

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/render"
)

// Make renders and signs one generation: raw is the bundle, sig its .minisig file.
// secrets are by director; those whose age recipient is in the roster get them sealed
// into the bundle, the others need a passphrase (SealAll). All but what is sealed
// depends on the arguments alone.
func Make(in render.Input, meta Meta, secrets map[string]render.Secrets, key *Key) (raw, sig []byte, err error) {
	const what = "this configuration"
	bad := func(format string, args ...any) error { return refuse(BadInput, what, "", format, args...) }
	if !utf8.Valid(in.YAML) {
		return nil, nil, bad("the cluster file isn't UTF-8")
	}
	in.Roster.Machines = append([]render.Machine{}, in.Roster.Machines...) // [] in JSON where there are none
	slices.SortFunc(in.Roster.Machines, func(a, b render.Machine) int { return cmp.Compare(a.Name, b.Name) })
	r, err := render.New(in)
	if err != nil {
		return nil, nil, bad("%w", err)
	}
	kinds := nodes(r.Cluster())
	if in.Roster.StationKey != key.Public() {
		return nil, nil, bad("the roster names another station key than %s, which signs", key.ID())
	}
	b := &Bundle{
		Format: 1,
		Stamp:  r.Stamp(),
		Meta:   Meta{Author: meta.Author, Note: meta.Note, Time: meta.Time.UTC().Truncate(time.Second)},
		YAML:   string(in.YAML), Roster: in.Roster,
		Machines: []Signed{}, Secrets: []Sealed{},
	}
	for _, node := range slices.Sorted(maps.Keys(kinds)) {
		s, err := renderSigned(r, kinds[node], node, secrets[node], key)
		if err != nil {
			return nil, nil, bad("%s: %w", node, err)
		}
		b.Machines = append(b.Machines, *s)
	}
	if b.Secrets, err = sealFor(kinds, in.Roster, secrets); err != nil {
		return nil, nil, bad("%w", err)
	}
	if raw, err = encode(b); err != nil {
		return nil, nil, bad("%w", err)
	}
	sig = key.sign(raw, bundleComment(b.Stamp))
	// What machines would refuse must not leave the station.
	if _, err := Open(raw, sig, key.Public()); err != nil {
		return nil, nil, bad("%w", err)
	}
	return raw, sig, nil
}

func renderSigned(r *render.Renderer, kind render.Kind, node string, s render.Secrets, key *Key) (*Signed, error) {
	var cfg *render.Config
	var err error
	if kind == render.Director {
		cfg, err = r.Director(node, s)
	} else {
		cfg, err = r.RealServer(node)
	}
	if err != nil {
		return nil, err
	}
	m := cfg.Manifest()
	text := m.Encode()
	return &Signed{Node: node, Manifest: string(text), Signature: string(key.sign(text, manifestComment(m)))}, nil
}

func sealFor(kinds map[string]render.Kind, r render.Roster, secrets map[string]render.Secrets) ([]Sealed, error) {
	sealed := []Sealed{}
	for _, m := range r.Machines {
		s, ok := secrets[m.Name]
		if !ok || m.Age == "" || kinds[m.Name] != render.Director {
			continue
		}
		to, err := checkRecipient(m.Age)
		if err != nil {
			return nil, fmt.Errorf("%s: the machine's key in the roster isn't an age recipient", m.Name)
		}
		text, err := seal(s, to)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
		sealed = append(sealed, Sealed{Node: m.Name, Age: string(text)})
	}
	slices.SortFunc(sealed, func(a, b Sealed) int { return cmp.Compare(a.Node, b.Node) })
	return sealed, nil
}

// nodes are all machines of c and their kinds.
func nodes(c *cluster.Cluster) map[string]render.Kind {
	out := make(map[string]render.Kind, len(c.Directors)+len(c.RealServers))
	for _, d := range c.Directors {
		out[d.Name] = render.Director
	}
	for _, r := range c.RealServers {
		out[r.Name] = render.RealServer
	}
	return out
}

// The signed comments say what a signature is for, so that one can't stand for another.
func bundleComment(s render.Stamp) string {
	return fmt.Sprintf("svm bundle: cluster %s, generation %d", s.Cluster, s.Generation)
}

func manifestComment(m *render.Manifest) string {
	return fmt.Sprintf("svm manifest: cluster %s, generation %d, machine %s", m.Cluster, m.Generation, m.Node)
}
