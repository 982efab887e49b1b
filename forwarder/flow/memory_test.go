package flow

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/svm-cluster/svm/forwarder/frame"
)

func open(t testing.TB, cfg Config) (*Table, Origin) {
	t.Helper()
	table, o, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return table, o
}

// filled makes a table file with n entries and returns what is in it.
func filled(t testing.TB, cfg Config, n int) (map[frame.Key]Entry, Origin) {
	t.Helper()
	table, o := open(t, cfg)
	l := &ledger{}
	for i := range n {
		k := testKey(i)
		if _, r := table.Insert(&k, table.Hash(&k), MakeMeta(tcpStates[i%len(tcpStates)], uint32(i)), Tick(5000+i), 0, l); r != Inserted {
			t.Fatal(r)
		}
	}
	found := consistent(t, table, l)
	if err := table.Close(false); err != nil {
		t.Fatal(err)
	}
	return found, o
}

func TestRecover(t *testing.T) {
	cfg := Config{Capacity: 500, HalfOpen: 50, Path: filepath.Join(t.TempDir(), "table"), BootID: "boot-1"}
	want, first := filled(t, cfg, 400)
	if first.Recovered != 0 || first.Discarded != "" {
		t.Errorf("a new file: %+v", first)
	}
	if st, err := os.Stat(cfg.Path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v (%v)", st.Mode(), err)
	}
	table, o := open(t, cfg)
	if o.Recovered != 400 || o.Discarded != "" || o.Nonce != first.Nonce {
		t.Errorf("%+v, first %+v", o, first)
	}
	got := consistent(t, table, nil)
	for k, e := range want {
		if got[k] != e || table.Deadline(e) != Tick(5000+int(e.Meta.Backend())) {
			t.Errorf("%v was %v, is %v until %d", k, e, got[k], table.Deadline(e))
		}
	}
	if n, _ := table.HalfOpen(); n != 80 {
		t.Errorf("%d half-open, want 80", n)
	}
	if err := table.Close(true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(cfg.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the discarded file is still there: %v", err)
	}
	table, o = open(t, cfg)
	defer table.Close(true)
	if o.Nonce == first.Nonce || o.Recovered != 0 {
		t.Errorf("an empty table with nonce %x as before: %+v", first.Nonce, o)
	}
}

func TestForeignFiles(t *testing.T) {
	cfg := Config{Capacity: 100, HalfOpen: 50, BootID: "boot-1"}
	patch := func(at int, b ...byte) func([]byte) []byte {
		return func(f []byte) []byte { copy(f[at:], b); return f }
	}
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		cfg    func(*Config)
		reason string // "" for recovered
	}{
		{"untouched", patch(0), nil, ""},
		{"empty", func([]byte) []byte { return nil }, nil, "-"},
		{"other boot", patch(0), func(c *Config) { c.BootID = "boot-2" }, "started anew"},
		{"longer boot ID", patch(0), func(c *Config) { c.BootID = "boot-12" }, "started anew"},
		{"shorter boot ID", patch(0), func(c *Config) { c.BootID = "boot-" }, "started anew"},
		{"no boot ID", patch(0), func(c *Config) { c.BootID = "" }, "started anew"},
		{"larger capacity", patch(0), func(c *Config) { c.Capacity = 1000 }, "another size"},
		{"smaller capacity", patch(0), func(c *Config) { c.Capacity = 10 }, "another size"},
		{"buckets", patch(16, 77), nil, "another size"},
		{"truncated", func(f []byte) []byte { return f[:len(f)-1] }, nil, "another size"},
		{"a few bytes", func([]byte) []byte { return []byte("hi") }, nil, "not a connection table"},
		{"longer", func(f []byte) []byte { return append(f, 0) }, nil, "another size"},
		{"a text file", func(f []byte) []byte { return []byte(strings.Repeat("text ", 2000)) }, nil, "not a connection table"},
		{"garbage of the right size", func(f []byte) []byte {
			for i := range f {
				f[i] = byte(i*i>>3) | 1
			}
			return f
		}, nil, "not a connection table"},
		{"another version", patch(7, '2'), nil, "not a connection table"},
		{"eight zeros, then garbage", patch(0, 0, 0, 0, 0, 0, 0, 0, 0), nil, "not a connection table"},
		{"garbage behind a blank header", func(f []byte) []byte {
			clear(f[:pageBytes])
			for i := pageBytes; i < len(f); i++ {
				f[i] = byte(i*i>>3) | 1
			}
			return f
		}, nil, "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := cfg
			cfg.Path = filepath.Join(t.TempDir(), "table")
			_, first := filled(t, cfg, 50)
			b, err := os.ReadFile(cfg.Path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(cfg.Path, c.change(b), 0o600); err != nil {
				t.Fatal(err)
			}
			if c.cfg != nil {
				c.cfg(&cfg)
			}
			table, o := open(t, cfg)
			defer table.Close(true)
			switch c.reason {
			case "":
				if o.Discarded != "" || o.Recovered != 50 || o.Nonce != first.Nonce {
					t.Errorf("%+v", o)
				}
			case "-":
				if o.Discarded != "" || o.Recovered != 0 || o.Nonce == first.Nonce {
					t.Errorf("%+v", o)
				}
			default:
				if !strings.Contains(o.Discarded, c.reason) || o.Recovered != 0 || o.Nonce == first.Nonce {
					t.Errorf("%+v, want the reason %q", o, c.reason)
				}
			}
			usable(t, table, o.Recovered)
		})
	}
}

// usable fills a table up and empties it.
func usable(t testing.TB, table *Table, there int) {
	t.Helper()
	if got := len(consistent(t, table, nil)); got != there {
		t.Errorf("%d entries, want %d", got, there)
	}
	l := &ledger{}
	// Any seed may come from a file: with an unlucky one, in a table of a few buckets, a
	// key finds its own ones taken. Others fill the rest.
	misses := 0
	for n := 0; table.Len() < table.Cap(); n++ {
		k := testKey(1_000_000 + n)
		if _, r := table.Insert(&k, table.Hash(&k), MakeMeta(Established, 3), 10, 0, l); r != Inserted {
			if misses++; misses > 10*table.Cap() {
				t.Errorf("%d of %d entries, then %v", table.Len(), table.Cap(), r)
				break
			}
		}
	}
	consistent(t, table, nil)
	for range 2 { // entries from elsewhere may have any deadline
		table.Sweep(0, table.Buckets(), 1<<30, l)
		table.Sweep(0, table.Buckets(), 1<<30+1<<31-1, l)
	}
	consistent(t, table, nil)
}

func TestInUse(t *testing.T) {
	cfg := Config{Capacity: 10, HalfOpen: 50, Path: filepath.Join(t.TempDir(), "table"), BootID: "b"}
	table, _ := open(t, cfg)
	_, _, err := New(cfg)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), cfg.Path) {
		t.Errorf("while another has it: %v", err)
	}
	k := testKey(1)
	table.Insert(&k, table.Hash(&k), MakeMeta(Established, 3), 10, 0, &ledger{})
	table.Close(false)
	table, o := open(t, cfg)
	if o.Recovered != 1 {
		t.Errorf("the attempt to take it spoilt it: %+v", o)
	}
	table.Close(true)
}

func TestBadPaths(t *testing.T) {
	dir := t.TempDir()
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, link, fifo, filepath.Join(dir, "none", "table"), "/dev/null"} {
		if table, _, err := New(Config{Capacity: 10, HalfOpen: 50, Path: path, BootID: "b"}); err == nil {
			t.Errorf("%s was taken", path)
			table.Close(false)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("the error does not name %s: %v", path, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "elsewhere")); err == nil {
		t.Error("a symbolic link was followed")
	}
}

func TestBadConfigs(t *testing.T) {
	for _, cfg := range []Config{{}, {Capacity: -1}, {Capacity: 1<<28 + 1}, {Capacity: 1, BootID: strings.Repeat("x", 65)}} {
		if _, _, err := New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

// A recovered flow must be in a state that its protocol has: the packet core
// indexes tables with it.
func TestRepairChecksStates(t *testing.T) {
	for _, c := range []struct {
		tail  uint64
		state State
		keep  bool
	}{
		{frame.Tail(1, 80, frame.ProtoTCP, frame.KeyFlow), Close, true},
		{frame.Tail(1, 80, frame.ProtoTCP, frame.KeyFlow), UDP, false},
		{frame.Tail(1, 80, frame.ProtoTCP, frame.KeyFlow), Template, false},
		{frame.Tail(1, 53, frame.ProtoUDP, frame.KeyFlow), UDPNew, true},
		{frame.Tail(1, 53, frame.ProtoUDP, frame.KeyFlow), Established, false},
		{frame.Tail(1, 53, 99, frame.KeyFlow), Established, false},
		{frame.Tail(0, 80, frame.ProtoTCP, frame.KeyTemplate), TemplateNew, true},
		{frame.Tail(0, 80, frame.ProtoTCP, frame.KeyTemplate), Fragment, false},
		{frame.FragmentTail(7, 0), Fragment, true},
		{frame.FragmentTail(7, 0), Established, false},
		{frame.Tail(1, 80, frame.ProtoTCP, 9), Established, false},
		{frame.Tail(1, 80, frame.ProtoTCP, frame.KeyFlow), NumStates, false},
		{frame.Tail(1, 80, frame.ProtoTCP, frame.KeyFlow), 255, false},
	} {
		table := newTable(t, 10, 50)
		k := testKey(1)
		k.Tail = c.tail
		e, _ := table.Insert(&k, table.Hash(&k), MakeMeta(Established, 1), 10, 0, &ledger{})
		table.slots[e.Slot][wordMeta] = uint64(e.Meta.With(c.state))
		table.used.Store(0)
		table.class[classOther].Store(0)
		if n := table.repair(); (n == 1) != c.keep {
			t.Errorf("key %#x in state %d: %d entries are kept", c.tail, c.state, n)
		}
		consistent(t, table, nil)
	}
}

func TestHeaderLayout(t *testing.T) {
	cfg := Config{Capacity: 10, HalfOpen: 50, Path: filepath.Join(t.TempDir(), "table"), BootID: strings.Repeat("b", 64)}
	_, o := filled(t, cfg, 3)
	b, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	if string(b[:8]) != magic || binary.LittleEndian.Uint64(b[8:]) != o.Nonce || string(b[80:144]) != cfg.BootID {
		t.Errorf("%q", b[:160])
	}
	table, o := open(t, cfg)
	defer table.Close(true)
	if o.Recovered != 3 {
		t.Errorf("%+v", o)
	}
}
