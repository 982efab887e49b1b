package bundle

import (
	"bytes"
	"github.com/svm-cluster/svm/ems/render"
	"strings"
)

// badSignatures is what stands where the signature should.
func badSignatures(stranger *farm) map[string]refusal {
	return map[string]refusal{
		"empty signature":       {func(h *hostile) { h.medium.Signature = []byte("\n"); h.remake() }, Unsigned, "no signature"},
		"signature is garbage":  {func(h *hostile) { h.medium.Signature = []byte("signed, honestly\n"); h.remake() }, Damaged, "minisign"},
		"another station's":     {func(h *hostile) { h.medium = withSecrets(h.t, stranger); h.remake() }, ForeignKey, stranger.key.ID()},
		"pinned to another one": {func(h *hostile) { h.pin = stranger.key.Public() }, ForeignKey, stranger.key.ID()},
		"its key ID claimed": {func(h *hostile) { // a stranger who says that his key is the station's
			s := h.medium.Signature
			h.medium.Signature = append(bytes.Clone(s[:60]), stranger.key.sign(h.medium.Bundle, "svm bundle: cluster shop, generation 7")[60:]...)
			h.remake()
		}, ForeignKey, ""},
		"a manifest's signature": {func(h *hostile) {
			b := h.farm.open(h.t)
			h.medium.Bundle, h.medium.Signature = []byte(b.Machines[0].Manifest), []byte(b.Machines[0].Signature)
			h.remake()
		}, Damaged, "unknown field"},
		"signed for another purpose": {func(h *hostile) {
			h.medium.Signature = h.farm.key.sign(h.medium.Bundle, "a letter to grandmother")
			h.remake()
		}, Contradictory, "grandmother"},
		"the pin is no key":    {func(h *hostile) { h.pin = "RWnonsense" }, BadKey, "pinned"},
		"no pin":               {func(h *hostile) { h.pin = "" }, BadKey, "pinned"},
		"older form, unhashed": {func(h *hostile) { h.medium.Signature = legacy(h.t, h.farm.key, h.medium.Bundle); h.remake() }, Damaged, "does not fit"},
	}
}

// badContents is what the station never signs, signed.
func badContents(stranger *farm) map[string]refusal {
	return map[string]refusal{
		"old generation":         {func(h *hostile) { h.confirmed = 8 }, OldGeneration, "rollback"},
		"the same generation":    {func(h *hostile) { h.confirmed = 7 }, SameGeneration, "generation 7"},
		"foreign cluster":        {func(h *hostile) { h.cluster = "bank" }, ForeignCluster, "bank"},
		"unknown machine":        {func(h *hostile) { h.node = "eds9" }, ForeignNode, "eds9"},
		"a real server's":        {func(h *hostile) { h.node = "eps1" }, ForeignNode, "director"},
		"generation 0":           {func(h *hostile) { h.forged(func(b *Bundle) { b.Generation = 0 }) }, Contradictory, "generation 0"},
		"a huge generation":      {func(h *hostile) { h.forged(func(b *Bundle) { b.Generation = 1 << 63 }) }, Contradictory, "generation"},
		"a number past 64 bits":  {func(h *hostile) { h.edited(`"generation": 7`, `"generation": 99999999999999999999999999`) }, Damaged, "number"},
		"a number with exponent": {func(h *hostile) { h.edited(`"generation": 7`, `"generation": 7e0`) }, Damaged, "number"},
		"a negative number":      {func(h *hostile) { h.edited(`"generation": 7`, `"generation": -7`) }, Damaged, "number"},
		"unknown format":         {func(h *hostile) { h.edited(`"format": 1`, `"format": 2`) }, UnknownFormat, "this program knows 1"},
		"no format":              {func(h *hostile) { h.signed("{}\n") }, UnknownFormat, ""},
		"a long format":          {func(h *hostile) { h.edited(`"format": 1`, `"format": "`+strings.Repeat("x", 9999)+`"`) }, UnknownFormat, ""},
		"not JSON":               {func(h *hostile) { h.signed("PK\x03\x04") }, Damaged, "JSON"},
		"a list":                 {func(h *hostile) { h.signed("[]\n") }, Damaged, "JSON"},
		"deep nesting":           {func(h *hostile) { h.signed(strings.Repeat("[", 400000)) }, Damaged, "JSON"},
		"deep nesting inside": {func(h *hostile) {
			h.edited(`"format": 1`, `"format": 1, "x": `+strings.Repeat("[", 5000)+strings.Repeat("]", 5000))
		}, Damaged, "unknown field"},
		"unknown field":       {func(h *hostile) { h.edited(`"format": 1`, `"format": 1, "shell": "rm"`) }, Damaged, "shell"},
		"a field twice":       {func(h *hostile) { h.edited(`"generation": 7`, `"generation": 9, "generation": 7`) }, Damaged, "twice"},
		"a field in capitals": {func(h *hostile) { h.edited(`"generation"`, `"GENERATION"`) }, Damaged, "as the station writes it"},
		"something follows":   {func(h *hostile) { h.signed(string(h.medium.Bundle) + "{}") }, Damaged, "JSON"},
		"spaces follow":       {func(h *hostile) { h.signed(string(h.medium.Bundle) + "  ") }, Damaged, "as the station writes it"},
		"wrong digest":        {func(h *hostile) { h.forged(func(b *Bundle) { b.Digest = strings.Repeat("0", 64) }) }, Contradictory, "digest"},
		"stamped for another": {func(h *hostile) { h.forged(func(b *Bundle) { b.Cluster = "bank" }) }, Contradictory, "bank"},
		"cluster file broken": {func(h *hostile) { h.forged(func(b *Bundle) { b.YAML = "cluster: [" }) }, Contradictory, "cluster.yaml"},
		"cluster file edited": {func(h *hostile) { h.forged(func(b *Bundle) { b.YAML += "# x\n" }) }, Contradictory, "digest"},
		"roster edited":       {func(h *hostile) { h.forged(func(b *Bundle) { b.Roster.Machines[1].Relay = "x" }) }, Contradictory, "digest"},
		"a machine left out":  {func(h *hostile) { h.forged(func(b *Bundle) { b.Machines = b.Machines[:3] }) }, Contradictory, "eps2"},
		"no machine at all":   {func(h *hostile) { h.forged(func(b *Bundle) { b.Machines = nil }) }, Contradictory, "eds1, eds2, eps1, eps2"},
		"a machine twice":     {func(h *hostile) { h.forged(func(b *Bundle) { b.Machines = append(b.Machines, b.Machines[3]) }) }, Contradictory, "twice"},
		"machines out of order": {func(h *hostile) {
			h.forged(func(b *Bundle) { b.Machines[0], b.Machines[1] = b.Machines[1], b.Machines[0] })
		}, Contradictory, "out of order"},
		"a machine too many": {func(h *hostile) {
			h.forged(func(b *Bundle) {
				b.Machines = append(b.Machines, Signed{"eps9", b.Machines[3].Manifest, b.Machines[3].Signature})
			})
		}, Contradictory, "eps9"},
		"another's manifest": {func(h *hostile) {
			h.forged(func(b *Bundle) {
				b.Machines[0].Manifest, b.Machines[0].Signature = b.Machines[1].Manifest, b.Machines[1].Signature
			})
		}, Contradictory, "eds2"},
		"manifest unsigned": {func(h *hostile) { h.forged(func(b *Bundle) { b.Machines[2].Signature = "" }) }, Contradictory, "no signature"},
		"manifest signed by another": {func(h *hostile) {
			h.forged(func(b *Bundle) {
				b.Machines[2].Signature = string(stranger.key.sign([]byte(b.Machines[2].Manifest), "x"))
			})
		}, Contradictory, stranger.key.ID()},
		"manifest edited":       {func(h *hostile) { h.forged(func(b *Bundle) { b.Machines[2].Manifest += " " }) }, Contradictory, "does not fit"},
		"manifest's generation": {func(h *hostile) { h.manifest("eps1", func(m *render.Manifest) { m.Generation = 6 }) }, Contradictory, "generation 6"},
		"manifest's digest":     {func(h *hostile) { h.manifest("eps1", func(m *render.Manifest) { m.Digest = strings.Repeat("a", 64) }) }, Contradictory, "aaaaaaaaaaaa"},
		"manifest's cluster":    {func(h *hostile) { h.manifest("eps1", func(m *render.Manifest) { m.Cluster = "bank" }) }, Contradictory, "bank"},
		"manifest's kind":       {func(h *hostile) { h.manifest("eps1", func(m *render.Manifest) { m.Kind = render.Director }) }, Contradictory, "director"},
		"manifest's format":     {func(h *hostile) { h.manifest("eps1", func(m *render.Manifest) { m.Format = 2 }) }, Contradictory, "format 2"},
		"path traversal": {func(h *hostile) {
			h.manifest("eds1", func(m *render.Manifest) { m.Files[0].Path = "/etc/svm/../shadow" })
		}, Contradictory, "shadow"},
		"relative path":    {func(h *hostile) { h.manifest("eds1", func(m *render.Manifest) { m.Files[0].Path = "etc/svm/x" }) }, Contradictory, "absolute"},
		"a place not ours": {func(h *hostile) { h.manifest("eds1", func(m *render.Manifest) { m.Files[0].Path = "/etc/passwd" }) }, Contradictory, "passwd"},
		"the pinned key's place": {func(h *hostile) {
			h.manifest("eds1", func(m *render.Manifest) { m.Files[0].Path = "/etc/svm/station.pub" })
		}, Contradictory, "pinned"},
		"newline in a path": {func(h *hostile) { h.manifest("eds1", func(m *render.Manifest) { m.Files[0].Path = "/etc/svm/a\nb" }) }, Contradictory, "characters"},
		"set-user-ID file":  {func(h *hostile) { h.manifest("eds1", func(m *render.Manifest) { m.Files[0].Mode = 0o4755 }) }, Contradictory, "mode"},
		"a huge file":       {func(h *hostile) { h.manifest("eds1", func(m *render.Manifest) { m.Files[0].Size = 1 << 40 }) }, Contradictory, "bytes"},
		"other files than made": {func(h *hostile) {
			h.manifest("eds1", func(m *render.Manifest) { m.Files[0].SHA256 = strings.Repeat("b", 64) })
		}, Contradictory, "other contents"},
		"a secret for a real server": {func(h *hostile) {
			h.manifest("eps1", func(m *render.Manifest) { m.Files[0].Secret, m.Files[0].Mode = true, 0o600 })
		}, Contradictory, "secret"},
		"secrets for a real server": {func(h *hostile) {
			h.forged(func(b *Bundle) { b.Secrets = append(b.Secrets, Sealed{"eps1", "x"}) })
		}, Contradictory, "eps1"},
		"secrets twice":    {func(h *hostile) { h.forged(func(b *Bundle) { b.Secrets = append(b.Secrets, b.Secrets[0]) }) }, Contradictory, "twice"},
		"sealed too large": {func(h *hostile) { h.forged(func(b *Bundle) { b.Secrets[0].Age = strings.Repeat("x", maxSealed+1) }) }, Contradictory, "65537"},
	}
}

// badSecrets is what may be wrong with secrets.age.
func badSecrets() map[string]refusal {
	return map[string]refusal{
		"wrong passphrase": {func(h *hostile) { h.phrase = "seven ducks in a pond" }, WrongPhrase, ""},
		"no passphrase":    {func(h *hostile) { h.phrase = "" }, WrongPhrase, "empty"},
		"a scrypt bomb":    {func(h *hostile) { h.medium.Secrets = bomb(h.t, 40); h.remake() }, Damaged, "scrypt"},
		"secrets to a key": {func(h *hostile) { h.medium.Secrets = []byte(h.farm.open(h.t).Secrets[0].Age); h.remake() }, WrongPhrase, ""},
		"secrets are text": {func(h *hostile) { h.medium.Secrets = []byte("ha_key: 0a0a"); h.remake() }, Damaged, "age file"},
		"another's secrets": {func(h *hostile) {
			sealed, err := sealAll(map[string]render.Secrets{"eds1": secretsOf(9)}, phrase, 4)
			if err != nil {
				h.t.Fatal(err)
			}
			h.medium.Secrets = sealed
			h.remake()
		}, Contradictory, "relay.key"},
	}
}
