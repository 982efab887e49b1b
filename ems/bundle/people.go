package bundle

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/svm-cluster/svm/ems/cluster"
)

// files are what a medium holds. The first three are for people; no machine reads them.
func (b *Bundle) files(m Medium) ([]imageFile, error) {
	readme, err := b.readme(len(m.Secrets) > 0)
	if err != nil {
		return nil, err
	}
	files := []imageFile{
		{nameReadme, readme},
		{nameCluster, []byte(b.YAML)},
		{nameMachines, machinesTable(b.rendered.Cluster())},
		{nameBundle, m.Bundle},
		{nameSignature, m.Signature},
	}
	if len(m.Secrets) > 0 {
		files = append(files, imageFile{nameSecrets, m.Secrets})
	}
	return files, nil
}

// readme says what the medium is, with line ends that every editor takes.
func (b *Bundle) readme(secrets bool) ([]byte, error) {
	id, err := KeyID(b.Roster.StationKey)
	if err != nil {
		return nil, err
	}
	sealed := "There are no secrets on this medium but those sealed inside svm.json to\nthe directors' own keys."
	if secrets {
		sealed = "secrets.age        the directors' keys, locked with the passphrase that was\n" +
			"                   given when this medium was written (the age tool opens it)"
	}
	text := fmt.Sprintf(`SVM configuration medium

Cluster         %s
Generation      %d
Made            %s by %s
Note            %s
Station key     %s
Digest          %s

A director that is started with this medium in a drive (or told
"svm-fwd firstboot") looks whether svm.json was signed by the station that it
knows, whether it is for its cluster, and whether it is newer than what it has.
If so it configures itself and then the real servers. If not it says why and
changes nothing.

svm.json           the configuration of all machines, as machines read it
svm.json.minisig   its signature: minisign -V -m svm.json -P KEY
cluster.yaml       the same, as it was written at the station; to read, not to edit
machines.txt       a table of the machines; to read
%s

Editing a file here changes nothing: write a new medium at the station
(svm-ems image write). After use keep it locked up, or wipe it.
`, b.Cluster, b.Generation, b.Time.Format(time.RFC3339), oneLine(b.Author), oneLine(b.Note), id, b.Digest, sealed)
	return []byte(strings.ReplaceAll(text, "\n", "\r\n")), nil
}

// oneLine makes a person's text harmless to a terminal.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if s == "" {
		return "-"
	}
	return s
}

// machinesTable lists the machines for people.
func machinesTable(c *cluster.Cluster) []byte {
	vips := map[string][]netip.Addr{}
	var all []netip.Addr
	for _, s := range c.Services {
		all = append(all, s.VIP)
		for _, server := range s.Servers {
			vips[server.Name] = append(vips[server.Name], s.VIP)
		}
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tKIND\tADDRESSES\tVIRTUAL ADDRESSES")
	for i := range c.Directors {
		d := &c.Directors[i]
		fmt.Fprintf(w, "%s\tdirector\t%s\t%s\n", d.Name,
			list([]netip.Addr{d.Client.Address, d.Client.Address6, d.Server.Address, d.Server.Address6}), list(all))
	}
	for i := range c.RealServers {
		r := &c.RealServers[i]
		fmt.Fprintf(w, "%s\treal server\t%s\t%s\n", r.Name, list([]netip.Addr{r.Address, r.Address6}), list(vips[r.Name]))
	}
	_ = w.Flush() // into memory
	return b.Bytes()
}

// list is the addresses that are there, each once.
func list(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		if a.IsValid() && !slices.Contains(out, a.String()) {
			out = append(out, a.String())
		}
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, ", ")
}
