package bundle

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// refusal is one case: what is changed, and what must be said to it.
type refusal struct {
	change func(h *hostile)
	want   Reason
	text   string // within the message
}

// harmless changes may not be refused either.
const harmless = Reason("")

func TestRefusedMedia(t *testing.T) {
	f := newFarm(t, 2)
	base := withSecrets(t, f)
	baseImage, err := Image(Floppy, base)
	if err != nil {
		t.Fatal(err)
	}
	stranger := newFarm(t, 2)
	cases := map[string]refusal{"nothing is wrong": {func(h *hostile) {}, harmless, ""}}
	for _, more := range []map[string]refusal{badMedia(), badSignatures(stranger), badContents(stranger), badSecrets()} {
		maps.Copy(cases, more)
	}
	if len(cases) < 100 {
		t.Fatalf("%d cases", len(cases))
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := *f
			h := &hostile{t: t, farm: &g, medium: base, image: bytes.Clone(baseImage),
				pin: f.key.Public(), node: "eds1", cluster: "shop", confirmed: 6, phrase: phrase}
			c.change(h)
			dir := t.TempDir()
			path := filepath.Join(dir, "medium")
			if err := os.WriteFile(path, h.image, 0o400); err != nil {
				t.Fatal(err)
			}
			before := listing(t, dir)
			err := firstBoot(path, h.pin, h.node, h.cluster, h.confirmed, h.phrase)
			if !maps.Equal(before, listing(t, dir)) {
				t.Error("something was written")
			}
			if c.want == harmless {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("%v\nwant %q with %q", err, c.want, c.text)
			}
			for _, other := range []Reason{Damaged, Unsigned, ForeignKey, Contradictory, BadInput} {
				if other != c.want && errors.Is(err, other) {
					t.Errorf("two reasons: %v and %v", c.want, other)
				}
			}
			if len(err.Error()) > 1000 {
				t.Errorf("a message of %d bytes", len(err.Error()))
			}
			if Remedy(err) == "" {
				t.Errorf("no remedy: %v", err)
			}
			t.Log(err)
		})
	}
}
