package realserver

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestRecord(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "realserver.json")
	if r, err := loadRecord(file); r != nil || err != nil {
		t.Fatalf("without a file: %v, %v", r, err)
	}
	want := Record{
		Boot:      "b/1",
		Sysctls:   []SysctlRecord{{conf4("eth0.100", "arp_ignore"), "0", "1"}},
		Addresses: []AddressRecord{{netip.MustParsePrefix("2001:db8::100/128"), true}},
	}
	// What a crash left before the rename is in nobody's way.
	if err := os.WriteFile(filepath.Join(dir, ".realserver.json.new"), []byte("{half"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := saveRecord(file, want); err != nil {
		t.Fatal(err)
	}
	got, err := loadRecord(file)
	if err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	st, err := os.Stat(file)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want mode 0600", st, err)
	}
	if err := removeRecord(file); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := removeRecord(file); err != nil {
		t.Errorf("removed twice: %v", err)
	}
}

// Errors say where and what to do.
func TestBrokenRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "realserver.json")
	for _, text := range []string{"", "{", `{"addresses":[{"prefix":""}]}`, `{"addresses":[{"prefix":"x"}]}`, `[]`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadRecord(file); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "remove") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSysctlCommand(t *testing.T) {
	for key, want := range map[string]string{
		conf4("eth0", "arp_ignore"):     "sysctl -w net.ipv4.conf.eth0.arp_ignore=1",
		conf4("eth0.100", "arp_ignore"): "sysctl -w net/ipv4/conf/eth0.100/arp_ignore=1",
	} {
		if got := sysctlCommand(key, "1"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
