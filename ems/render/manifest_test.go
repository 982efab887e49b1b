package render

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestManifestRoundTrip(t *testing.T) {
	for _, c := range everything(t, testInput()) {
		m := c.Manifest()
		got, err := ParseManifest(m.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("got %+v, want %+v", got, m)
		}
		if err := got.Verify(c); err != nil {
			t.Error(err)
		}
		for _, f := range c.Files {
			if f.Secret && bytes.Contains(m.Encode(), bytes.TrimSpace(f.Data)) {
				t.Errorf("%s is in the manifest", f.Path)
			}
		}
	}
}

func one(t testing.TB) *Config {
	c, err := ForDirector(testInput(), "eds1", testSecrets())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestHostileManifests changes one thing of a good one, in its values and in its bytes.
func TestHostileManifests(t *testing.T) {
	at := func(path string) func(*Manifest) { return func(m *Manifest) { m.Files[0].Path = path } }
	for name, c := range map[string]struct {
		change func(*Manifest)
		want   string
	}{
		"traversal":            {at("/etc/svm/../shadow"), "shortest form"},
		"traversal at the end": {at("/etc/svm/.."), "shortest form"},
		"dots":                 {at("/etc/svm/./x"), "shortest form"},
		"double slash":         {at("/etc//svm/x"), "shortest form"},
		"directory":            {at("/etc/svm/"), "shortest form"},
		"the directory itself": {at("/etc/svm"), "a place that SVM"},
		"root":                 {at("/"), "a place that SVM"},
		"relative":             {at("etc/svm/x"), "not absolute"},
		"empty":                {at(""), "not absolute"},
		"home":                 {at("/root/.ssh/authorized_keys"), "a place that SVM"},
		"passwd":               {at("/etc/passwd"), "a place that SVM"},
		"cron":                 {at("/etc/cron.d/svm"), "a place that SVM"},
		"like our directory":   {at("/etc/svmx/x"), "a place that SVM"},
		"foreign unit":         {at("/etc/systemd/system/ssh.service"), "a place that SVM"},
		"unit's directory":     {at("/etc/systemd/system/svm-fwd.service.d/x.conf"), "a place that SVM"},
		"unit elsewhere":       {at("/etc/systemd/user/svm-fwd.service"), "a place that SVM"},
		"timer":                {at("/etc/systemd/system/svm-x.timer"), "a place that SVM"},
		"wants":                {at("/etc/systemd/system/multi-user.target.wants/svm-x.service"), "a place that SVM"},
		"foreign sysctl":       {at("/etc/sysctl.d/99-sysctl.conf"), "a place that SVM"},
		"sysctl of no kind":    {at("/etc/sysctl.d/90-svm"), "a place that SVM"},
		"network":              {at("/etc/systemd/network/05-lan.network"), "a place that SVM"},
		"link":                 {at("/etc/systemd/network/05-svm.link"), "a place that SVM"},
		"netdev":               {at("/etc/systemd/network/svm/x.network"), "a place that SVM"},
		"the pin":              {at("/etc/svm/station.pub"), "pinned"},
		"the machine's key":    {at("/etc/svm/machine.key"), "pinned"},
		"newline":              {at("/etc/svm/a\nb"), "other characters"},
		"NUL":                  {at("/etc/svm/a\x00b"), "other characters"},
		"escape":               {at("/etc/svm/\x1b[2J"), "other characters"},
		"backslash":            {at(`/etc/svm/..\x`), "other characters"},
		"space":                {at("/etc/svm/a b"), "other characters"},
		"not ASCII":            {at("/etc/svm/\u202egnp"), "other characters"},
		"long":                 {at("/etc/svm/" + strings.Repeat("x", 200)), "longer than 200"},
		"twice":                {func(m *Manifest) { m.Files[1] = m.Files[0] }, "each path once"},
		"order":                {func(m *Manifest) { m.Files[0], m.Files[1] = m.Files[1], m.Files[0] }, "in the order"},
		"below a file":         {func(m *Manifest) { m.Files[1].Path = m.Files[0].Path + "/x" }, "which is a file"},
		"none":                 {func(m *Manifest) { m.Files = nil }, "0 files"},
		"many":                 {func(m *Manifest) { m.Files = many(MaxFiles + 1) }, "65 files"},
		"set-user-id":          {func(m *Manifest) { m.Files[0].Mode = 0o4755 }, "mode"},
		"executable":           {func(m *Manifest) { m.Files[0].Mode = 0o755 }, "mode"},
		"writable":             {func(m *Manifest) { m.Files[0].Mode = 0o666 }, "mode"},
		"a mode of Go's":       {func(m *Manifest) { m.Files[0].Mode = 1<<31 | 0o644 }, "mode"},
		"readable secret":      {func(m *Manifest) { m.Files[0].Secret = true }, "for a secret"},
		"owner":                {func(m *Manifest) { m.Files[0].Owner = "root" }, "owner"},
		"owner's characters":   {func(m *Manifest) { m.Files[0].Owner = "svm\n" }, "owner"},
		"negative size":        {func(m *Manifest) { m.Files[0].Size = -1 }, "bytes"},
		"huge size":            {func(m *Manifest) { m.Files[0].Size = 1 << 40 }, "bytes"},
		"digest":               {func(m *Manifest) { m.Files[0].SHA256 = strings.ToUpper(m.Files[0].SHA256) }, "sha256"},
		"short digest":         {func(m *Manifest) { m.Digest = m.Digest[1:] }, "digest"},
		"cluster":              {func(m *Manifest) { m.Cluster = "../x" }, "cluster"},
		"node":                 {func(m *Manifest) { m.Node = "EDS1" }, "node"},
		"no node":              {func(m *Manifest) { m.Node = "" }, "node"},
		"node's hyphen":        {func(m *Manifest) { m.Node = "-rf" }, "node"},
		"kind":                 {func(m *Manifest) { m.Kind = "station" }, "kind"},
		"generation":           {func(m *Manifest) { m.Generation = 0 }, "counted from 1"},
		"format":               {func(m *Manifest) { m.Format = 2 }, "this program knows 1"},
	} {
		m := one(t).Manifest()
		c.change(m)
		if _, err := ParseManifest(m.Encode()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		} else if strings.ContainsFunc(err.Error(), func(c rune) bool { return c < ' ' || c == 0x202e }) {
			t.Errorf("%s: the message has control characters: %q", name, err)
		}
	}
	good := string(one(t).Manifest().Encode())
	for name, bad := range map[string]string{
		"empty":         "",
		"null":          "null\n",
		"list":          "[]\n",
		"no newline":    strings.TrimSpace(good),
		"a space":       " " + good,
		"two":           good + good,
		"rest":          good + "x",
		"unknown key":   strings.Replace(good, `"format":1,`, `"format":1,"run":"x",`, 1),
		"key twice":     strings.Replace(good, `"node":"eds1"`, `"node":"eds2","node":"eds1"`, 1),
		"case of a key": strings.Replace(good, `"node"`, `"Node"`, 1),
		"escapes":       strings.Replace(good, `"eds1"`, `"\u0065ds1"`, 1),
		"order of keys": strings.Replace(good, `"cluster":"shop","generation":7`, `"generation":7,"cluster":"shop"`, 1),
		"a number":      strings.Replace(good, `"generation":7`, `"generation":7.0`, 1),
		"negative":      strings.Replace(good, `"generation":7`, `"generation":-7`, 1),
		"overflow":      strings.Replace(good, `"mode":420`, `"mode":4294967716`, 1),
		"a text":        strings.Replace(good, `"mode":420`, `"mode":"420"`, 1),
		"deep":          strings.Repeat("[", 60000),
		"large":         good + strings.Repeat(" ", MaxManifest),
		"no UTF-8":      strings.Replace(good, "eds1", "eds\xff", 1),
	} {
		if bad == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := ParseManifest([]byte(bad)); err == nil || !strings.HasPrefix(err.Error(), "manifest: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func many(n int) []Entry {
	var all []Entry
	for i := range n {
		all = append(all, Entry{Path: fmt.Sprintf("/etc/svm/%03d", i), Mode: 0o644, SHA256: strings.Repeat("0", 64)})
	}
	return all
}

func TestLargestManifestFits(t *testing.T) {
	m := one(t).Manifest()
	m.Files = many(MaxFiles)
	for i := range m.Files {
		m.Files[i].Path += strings.Repeat("x", 180)
		m.Files[i].Size = MaxFileSize
	}
	if _, err := ParseManifest(m.Encode()); err != nil {
		t.Error(err)
	}
}

// TestVerify changes one thing of a configuration, or several.
func TestVerify(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"a byte":          {func(c *Config) { c.Files[0].Data[5]++ }, "/etc/svm/cluster.yaml has other contents than promised"},
		"a byte more":     {func(c *Config) { c.Files[0].Data = append(c.Files[0].Data, '\n') }, "/etc/svm/cluster.yaml has"},
		"missing":         {func(c *Config) { c.Files = c.Files[1:] }, "/etc/svm/cluster.yaml is missing"},
		"one more":        {func(c *Config) { c.Files = append(c.Files, File{Path: "/etc/svm/z"}) }, "/etc/svm/z isn't promised"},
		"twice":           {func(c *Config) { c.Files = append(c.Files, c.Files[0]) }, "/etc/svm/cluster.yaml is there twice"},
		"mode":            {func(c *Config) { c.Files[1].Mode = 0o644 }, "/etc/svm/ha.key has mode 0644"},
		"owner":           {func(c *Config) { c.Files[1].Owner = "" }, `/etc/svm/ha.key has mode 0600 and owner ""`},
		"no secret":       {func(c *Config) { c.Files[1].Secret = false }, "/etc/svm/ha.key"},
		"another machine": {func(c *Config) { c.Node = "eds2" }, "but the files are those of director eds2"},
		"kind":            {func(c *Config) { c.Kind = RealServer }, "realserver eds1"},
		"generation":      {func(c *Config) { c.Generation++ }, "generation 8"},
		"digest":          {func(c *Config) { c.Digest = "" }, "generation 7 ()"},
		"cluster":         {func(c *Config) { c.Cluster = "farm" }, "cluster farm"},
		"nothing left":    {func(c *Config) { c.Files = nil }, "svm-receiver@.service is missing"},
	} {
		cfg := one(t)
		m := cfg.Manifest()
		c.change(cfg)
		err := m.Verify(cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), "0123456789abcdef") || strings.Contains(err.Error(), "PRIVATE")) {
			t.Errorf("%s: the message has a secret: %v", name, err)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add(one(f).Manifest().Encode())
	f.Add([]byte(`{"format":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			return
		}
		if !bytes.Equal(m.Encode(), b) {
			t.Error("two encodings of one manifest")
		}
		for _, e := range m.Files {
			if !strings.HasPrefix(e.Path, "/etc/") || strings.Contains(e.Path, "..") && strings.Contains(e.Path, "/../") {
				t.Errorf("path %q was accepted", e.Path)
			}
		}
	})
}
