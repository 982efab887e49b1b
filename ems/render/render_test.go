package render

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/ems/cluster"
)

func TestOrderOfRosterDoesNotCount(t *testing.T) {
	want := everything(t, testInput())
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		in := testInput()
		m := in.Roster.Machines
		rng.Shuffle(len(m), func(i, j int) { m[i], m[j] = m[j], m[i] })
		first := slices.Clone(m)
		for i, c := range everything(t, in) {
			if !bytes.Equal(shown(c), shown(want[i])) {
				t.Fatalf("%s depends on the order %v", c.Node, first)
			}
		}
		if !slices.Equal(m, first) {
			t.Fatal("the caller's roster was sorted in place")
		}
	}
}

// TestDigest wants every part of the input in it, and nothing else.
func TestDigest(t *testing.T) {
	seen := map[string]string{}
	for name, change := range map[string]func(*Input){
		"nothing":     func(*Input) {},
		"a comment":   func(in *Input) { in.YAML = append([]byte("# \n"), in.YAML...) },
		"a host key":  func(in *Input) { in.Roster.Machines[2].HostKey = hostKey1 },
		"age":         func(in *Input) { in.Roster.Machines[0].Age = "age1y" },
		"relay":       func(in *Input) { in.Roster.Machines[0].Relay = "" },
		"station":     func(in *Input) { in.Roster.StationKey = "RWQ" },
		"station SSH": func(in *Input) { in.Roster.StationSSH = hostKey2 },
		"machine":     func(in *Input) { in.Roster.Machines = in.Roster.Machines[1:] },
		"no roster":   func(in *Input) { in.Roster = Roster{} },
		"moved bytes": func(in *Input) { in.YAML = append(in.YAML, '{') },
	} {
		in := testInput()
		change(&in)
		d := in.Digest()
		if b, err := hex.DecodeString(d); err != nil || len(b) != 32 {
			t.Fatalf("%q is no SHA-256 in hex", d)
		}
		if other, taken := seen[d]; taken {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[d] = name
	}
	in := testInput()
	in.Generation = 8
	if seen[in.Digest()] != "nothing" {
		t.Error("the generation counts in the digest")
	}
	in.Roster.Machines = nil
	empty := in
	empty.Roster.Machines = []Machine{}
	if in.Digest() != empty.Digest() {
		t.Error("no machines and an empty list of them differ")
	}
}

// TestRealServerKnowsOnlyItself looks for every name and address of others, and for
// the word that stands for secrets.
func TestRealServerKnowsOnlyItself(t *testing.T) {
	for _, c := range everything(t, testInput()) {
		if c.Kind != RealServer {
			continue
		}
		own := mustParse(t, c.file(t, ClusterFile))
		if len(own.RealServers) != 1 || own.RealServers[0].Name != c.Node {
			t.Errorf("%s: its file names %v", c.Node, own.RealServers)
		}
		if own.HA.KeyFile != "" || own.Station.Address.IsValid() {
			t.Errorf("%s: its file names the pair's key or the station:\n%s", c.Node, own.YAML())
		}
		whole := mustParse(t, farm)
		forbidden := []string{"hush", "ha.key", strings.Repeat("0123456789abcdef", 4), "PRIVATE"}
		for _, rs := range whole.RealServers {
			if rs.Name != c.Node {
				forbidden = append(forbidden, rs.Name, rs.Address.String())
			}
		}
		for _, s := range whole.Services {
			if !slices.ContainsFunc(s.Servers, func(b cluster.Server) bool { return b.Name == c.Node }) {
				forbidden = append(forbidden, "name: "+s.Name+",")
			}
		}
		for _, f := range c.Files {
			if f.Secret || f.Mode != 0o644 || f.Owner != "" {
				t.Errorf("%s: %s is %#o of %q, secret %v", c.Node, f.Path, f.Mode, f.Owner, f.Secret)
			}
			for _, word := range forbidden {
				if bytes.Contains(f.Data, []byte(word)) {
					t.Errorf("%s: %s says %q:\n%s", c.Node, f.Path, word, f.Data)
				}
			}
		}
	}
}

// TestRealServersPart keeps what svm-rs goes by.
func TestRealServersPart(t *testing.T) {
	whole := mustParse(t, farm)
	want := map[string]string{"eps1": "web web6 dns", "eps2": "web", "eps3": "web6", "spare": ""}
	for _, c := range everything(t, testInput()) {
		names, ok := want[c.Node]
		if !ok {
			continue
		}
		own := mustParse(t, c.file(t, ClusterFile))
		var got []string
		for _, s := range own.Services {
			got = append(got, s.Name)
			o := whole.Service(s.Name)
			if s.VIP != o.VIP || s.Protocol != o.Protocol || !slices.Equal(s.Ports, o.Ports) {
				t.Errorf("%s: %s is %+v, want %+v", c.Node, s.Name, s, o)
			}
			if s.Check.Type != o.Check.Type && o.Check.Type != cluster.CheckExec {
				t.Errorf("%s: %s has a check of type %s, want %s", c.Node, s.Name, s.Check.Type, o.Check.Type)
			}
		}
		if strings.Join(got, " ") != names {
			t.Errorf("%s: services %v, want %q", c.Node, got, names)
		}
		if own.Name != whole.Name || own.Networks != whole.Networks || own.Delivery != whole.Delivery || own.RealServers[0] != *whole.RealServer(c.Node) {
			t.Errorf("%s: the farm is not as it was:\n%s", c.Node, own.YAML())
		}
		for i, d := range own.Directors {
			if o := whole.Directors[i]; d.Name != o.Name || d.Client != o.Client || d.Server != o.Server {
				t.Errorf("%s: director %+v, want %+v", c.Node, d, o)
			}
		}
	}
}

// TestForeignChangesLeaveRealServersAlone: what does not concern a server must not
// touch its files, or every push would restart every machine.
func TestForeignChangesLeaveRealServersAlone(t *testing.T) {
	want := everything(t, testInput())[2] // eps1
	for _, in := range []Input{
		edited(t, "weight: 3", "weight: 0"), edited(t, "scheduler: wrr", "scheduler: mh"),
		edited(t, "upper: 10", "upper: 11"), edited(t, "persistence: {}", "persistence: {timeout: 1m}"),
		edited(t, "{name: spare, address: 192.168.2.99}", "{name: other, address: 192.168.2.98}"),
		edited(t, "{name: eps3}, {name: eps1}", "{name: eps1}"), edited(t, "# the shop", "# another shop"),
		edited(t, "priority: 200", "priority: 201"), edited(t, "station: {address: 192.168.2.5}", "station: {address: 192.168.2.6}"),
	} {
		got := everything(t, in)[2]
		if got.Digest == want.Digest {
			t.Error("the digest did not change")
		}
		for i, f := range got.Files {
			if !bytes.Equal(Unstamped(f.Data), Unstamped(want.Files[i].Data)) {
				t.Errorf("%s changed:\n%s", f.Path, f.Data)
			}
		}
	}
}

// TestStamps wants one on every file but the keys, and the operator's bytes below it.
func TestStamps(t *testing.T) {
	for _, c := range everything(t, testInput()) {
		for _, f := range c.Files {
			line, rest, _ := strings.Cut(string(f.Data), "\n")
			switch {
			case f.Secret:
				if strings.HasPrefix(line, "#") {
					t.Errorf("%s: %s has a stamp", c.Node, f.Path)
				}
			case line+"\n" != c.Stamp.Line(c.Node) || !strings.Contains(line, "generation 7, sha256 "+c.Digest+", machine "+c.Node):
				t.Errorf("%s: %s starts with %q", c.Node, f.Path, line)
			case string(Unstamped(f.Data)) != rest:
				t.Errorf("%s: %s keeps its stamp", c.Node, f.Path)
			case c.Kind == Director && f.Path == ClusterFile && rest != farm:
				t.Errorf("%s: the operator's file was changed:\n%s", c.Node, rest)
			}
		}
	}
	for _, s := range []string{"", "# svm", "x\n# svm: cluster shop\n", "\n"} {
		if string(Unstamped([]byte(s))) != s {
			t.Errorf("%q was taken for a stamp", s)
		}
	}
}

func TestReferenceFile(t *testing.T) {
	data, err := os.ReadFile("../../docs/cluster.reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	in := testInput()
	in.YAML = data
	if n := len(everything(t, in)); n != 4 {
		t.Errorf("%d machines, want 4", n)
	}
}

func TestByteOrderMark(t *testing.T) {
	in := testInput()
	in.YAML = append([]byte("\ufeff"), in.YAML...)
	if _, err := cluster.Parse("", in.YAML); err != nil {
		t.Skipf("such a file isn't accepted: %v", err)
	}
	mustParse(t, everything(t, in)[0].file(t, ClusterFile))
}

func TestRefused(t *testing.T) {
	director := func(in Input, s Secrets) error { _, err := ForDirector(in, "eds1", s); return err }
	server := func(in Input, node string) error { _, err := ForRealServer(in, node); return err }
	with := func(change func(*Input)) Input { in := testInput(); change(&in); return in }
	key := func(path string) Input { return edited(t, "key_file: /etc/svm/ha.key", "key_file: "+path) }
	const remedy = "write key_file: /etc/svm/ha.key"
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"key elsewhere":        {director(key("/root/ha.key"), testSecrets()), remedy},
		"key beside":           {director(key("/etc/svmkeys/ha.key"), testSecrets()), remedy},
		"key by a way round":   {director(key("/etc/svm/../shadow"), testSecrets()), remedy},
		"key with a space":     {director(key("\"/etc/svm/my key\""), testSecrets()), remedy},
		"key over the pin":     {director(key("/etc/svm/station.pub"), testSecrets()), remedy},
		"key over the cluster": {director(key("/etc/svm/cluster.yaml"), testSecrets()), remedy},
		"key below a file":     {director(key("/etc/svm/cluster.yaml/key"), testSecrets()), "which is a file"},
		"no HA key":            {director(testInput(), Secrets{RelayKey: []byte(relayPEM)}), "64 hex digits"},
		"bad HA key":           {director(testInput(), Secrets{HAKey: []byte("00"), RelayKey: []byte(relayPEM)}), "64 hex digits"},
		"no relay key":         {director(testInput(), Secrets{HAKey: testSecrets().HAKey}), "relay key"},
		"no director":          {server(testInput(), "eds1"), `no real server "eds1"`},
		"no real server":       {func() error { _, err := ForDirector(testInput(), "eps1", testSecrets()); return err }(), `no director "eps1"`},
		"two of one name":      {server(edited(t, "{name: spare", "{name: eds1"), "eps1"), "eds1 is a director and a real server"},
		"roster twice":         {server(with(func(in *Input) { in.Roster.Machines[1].Name = "eds1" }), "eps1"), "the roster has eds1 twice"},
		"generation 0":         {server(with(func(in *Input) { in.Generation = 0 }), "eps1"), "counted from 1"},
		"host key":             {director(with(func(in *Input) { in.Roster.Machines[1].HostKey = "ssh-ed25519 x" }), testSecrets()), "eps1"},
		"two host keys":        {director(with(func(in *Input) { in.Roster.Machines[1].HostKey += "\n" + hostKey2 }), testSecrets()), "eps1"},
		"host key's options":   {director(with(func(in *Input) { in.Roster.Machines[1].HostKey = "command=\"x\" " + hostKey1 }), testSecrets()), "eps1"},
		"device":               {server(edited(t, "device: eth0.7", "device: 'eth*'"), "eps2"), "rename the device"},
		"device's value":       {server(edited(t, "device: eth0.7", "device: 'a=b'"), "eps2"), "rename the device"},
		"director's device":    {director(edited(t, "client: {device: eth0, address: 192.168.1.2}", "client: {device: '-e#', address: 192.168.1.2}"), testSecrets()), "rename the device"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, c.err, c.want)
		}
		if c.err != nil && (strings.Contains(c.err.Error(), "bm90") || strings.Contains(c.err.Error(), "0123456789abcdef")) {
			t.Errorf("%s: the message has the secret: %v", name, c.err)
		}
	}
	var problems cluster.Problems
	if err := director(edited(t, "vip: 192.168.1.100", "vip: 192.168.2.11"), testSecrets()); !errors.As(err, &problems) {
		t.Errorf("a bad file gives %v, want its problems", err)
	}
}

func TestNoHAKeyWhereNoneIsAskedFor(t *testing.T) {
	c, err := ForDirector(edited(t, "key_file: /etc/svm/ha.key, ", ""), "eds1", testSecrets())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range c.Files {
		if f.Secret && f.Path != RelayKeyFile {
			t.Errorf("%s is delivered", f.Path)
		}
	}
}

func FuzzInput(f *testing.F) {
	f.Add(farm)
	f.Add("cluster: shop\n")
	f.Fuzz(func(t *testing.T, yaml string) {
		r, err := New(Input{Generation: 1, YAML: []byte(yaml)})
		if err != nil {
			return
		}
		for _, d := range r.Cluster().Directors {
			if c, err := r.Director(d.Name, testSecrets()); err == nil {
				if _, err := ParseManifest(c.Manifest().Encode()); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, s := range r.Cluster().RealServers {
			c, err := r.RealServer(s.Name)
			if err != nil {
				if !strings.Contains(err.Error(), "rename the device") {
					t.Fatal(err)
				}
				continue
			}
			if _, err := ParseManifest(c.Manifest().Encode()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
