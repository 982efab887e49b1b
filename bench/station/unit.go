package station

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// unitDir is where a machine's unit files are.
const unitDir = "/etc/systemd/system"

// unit is a unit file: section, key, values in order. An empty value clears the
// earlier ones, as in systemd.
type unit map[string]map[string][]string

func (u unit) all(section, key string) []string { return u[section][key] }

func (u unit) last(section, key string) string {
	v := u[section][key]
	if len(v) == 0 {
		return ""
	}
	return v[len(v)-1]
}

func parseUnit(text string) (unit, error) {
	u := unit{}
	section := ""
	sc := bufio.NewScanner(strings.NewReader(text))
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		for strings.HasSuffix(line, "\\") && sc.Scan() {
			n++
			line = strings.TrimSuffix(line, "\\") + " " + strings.TrimSpace(sc.Text())
		}
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			section = line[1 : len(line)-1]
			if u[section] == nil {
				u[section] = map[string][]string{}
			}
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok || section == "" {
				return nil, fmt.Errorf("line %d: want KEY=VALUE in a section: %s", n, line)
			}
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			if value == "" {
				delete(u[section], key)
				continue
			}
			u[section][key] = append(u[section][key], value)
		}
	}
	return u, sc.Err()
}

// loadUnit reads the file of a unit; name may be an instance, svm-receiver@4.service.
func loadUnit(name string) (unit, error) {
	file := name
	if at := strings.IndexByte(name, '@'); at >= 0 {
		file = name[:at+1] + filepath.Ext(name)
	}
	text, err := os.ReadFile(filepath.Join(unitDir, file))
	if err != nil {
		return nil, err
	}
	u, err := parseUnit(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return u, nil
}

// enable makes the links that [Install] asks for; disable takes all links away.
func enable(name string) error {
	u, err := loadUnit(name)
	if err != nil {
		return err
	}
	for _, list := range u.all("Install", "WantedBy") {
		for _, target := range strings.Fields(list) {
			dir := filepath.Join(unitDir, target+".wants")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			err := os.Symlink(filepath.Join(unitDir, name), filepath.Join(dir, name))
			if err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
	}
	return nil
}

func disable(name string) error {
	links, err := filepath.Glob(filepath.Join(unitDir, "*.wants", name))
	for _, l := range links {
		err = errors.Join(err, os.Remove(l))
	}
	return err
}

// enabled are the units that start at boot, in the order of their names.
func enabled() []string {
	links, _ := filepath.Glob(filepath.Join(unitDir, "*.wants", "*")) // the pattern is fine
	var out []string
	seen := map[string]bool{}
	for _, l := range links {
		if name := filepath.Base(l); !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}
