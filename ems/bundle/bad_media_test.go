package bundle

import (
	"bytes"
)

// badMedia is what a worn or hostile medium may be.
func badMedia() map[string]refusal {
	return map[string]refusal{
		"empty file":                   {func(h *hostile) { h.image = nil }, NoMedium, "no FAT"},
		"all zeros":                    {func(h *hostile) { clear(h.image) }, NoMedium, "no FAT"},
		"not a FAT system":             {func(h *hostile) { copy(h.image, bytes.Repeat([]byte("ISO"), 300)) }, NoMedium, "no FAT"},
		"flip in the boot signature":   {func(h *hostile) { h.image[510] ^= 1 }, NoMedium, "no FAT"},
		"flip in the sector size":      {func(h *hostile) { h.image[12] ^= 1 }, NoMedium, "no FAT"},
		"flip in the FATs' number":     {func(h *hostile) { h.image[16] ^= 4 }, NoMedium, "no FAT"},
		"flip in the FATs' size":       {func(h *hostile) { h.image[22] ^= 1 }, NoMedium, "no FAT"},
		"flip in the reserved sectors": {func(h *hostile) { h.image[14] ^= 2 }, NoMedium, "svm.json isn't on it"},
		"more sectors than there are":  {func(h *hostile) { h.image[20] ^= 0x40 }, Damaged, "cut off"},
		"flip in the boot code":        {func(h *hostile) { h.image[200] ^= 1 }, harmless, ""},
		"flip in the serial number":    {func(h *hostile) { h.image[39] ^= 1 }, harmless, ""},
		"cut in the boot sector":       {func(h *hostile) { h.image = h.image[:300] }, NoMedium, "no FAT"},
		"cut in the FAT":               {func(h *hostile) { h.image = h.image[:2000] }, Damaged, "cut off"},
		"cut in svm.json":              {func(h *hostile) { h.image = h.image[:60000] }, Damaged, "cut off"},
		"last sector lost":             {func(h *hostile) { h.image = h.image[:Floppy-512] }, Damaged, "cut off"},
		"first FAT wiped":              {func(h *hostile) { clear(h.image[512:5120]) }, harmless, ""}, // the second one serves
		"second FAT wiped":             {func(h *hostile) { clear(h.image[5120:9728]) }, harmless, ""},
		"both FATs wiped":              {func(h *hostile) { clear(h.image[512:9728]) }, Damaged, "chain"},
		"both FATs full of ends":       {func(h *hostile) { copy(h.image[512:], bytes.Repeat([]byte{0xff}, 9216)) }, Damaged, "chain"},
		"both FATs run in circles": {func(h *hostile) {
			_, at := h.entry(nameBundle)
			c := uint16(at-16896)/512 + 2
			for _, fat := range []int{512, 5120} {
				for i := c; i < c+4; i++ {
					setFAT12(h.image[fat:], i, c)
				}
			}
		}, Damaged, "chain"},
		"directory wiped":    {func(h *hostile) { clear(h.image[9728:16896]) }, NoMedium, "svm.json isn't on it"},
		"svm.json renamed":   {func(h *hostile) { e, _ := h.entry(nameBundle); h.image[e] ^= 1 }, NoMedium, "svm.json isn't on it"},
		"svm.json deleted":   {func(h *hostile) { e, _ := h.entry(nameBundle); h.image[e] = 0xe5 }, NoMedium, "svm.json isn't on it"},
		"svm.json elsewhere": {func(h *hostile) { e, _ := h.entry(nameBundle); h.image[e+26] ^= 1 }, Damaged, ""},
		"svm.json shorter":   {func(h *hostile) { e, _ := h.entry(nameBundle); h.image[e+28] ^= 1 }, Damaged, ""},
		"svm.json empty":     {func(h *hostile) { e, _ := h.entry(nameBundle); le.PutUint32(h.image[e+28:], 0) }, NoMedium, "isn't on it"},
		"svm.json of 4 GB":   {func(h *hostile) { e, _ := h.entry(nameBundle); le.PutUint32(h.image[e+28:], 0xffffffff) }, TooLarge, "4294967295"},
		"svm.json a folder":  {func(h *hostile) { e, _ := h.entry(nameBundle); h.image[e+11] |= attrDirectory }, Damaged, "folder"},
		"svm.json twice": {func(h *hostile) {
			h.remake(imageFile{nameBundle, h.medium.Bundle}, imageFile{nameSignature, h.medium.Signature}, imageFile{"svmXjson", []byte("{}")})
			e, _ := h.entry(nameBundle)
			x, _ := h.entry("svmXjson")
			copy(h.image[x:x+11], h.image[e:e+11])
			copy(h.image[x-32:x], h.image[e-32:e])
		}, Damaged, "twice"},
		"svm.json below a folder":    {func(h *hostile) { h.remake(imageFile{"readme", []byte("x")}) }, NoMedium, "isn't on it"},
		"signature of 1 MB":          {func(h *hostile) { e, _ := h.entry(nameSignature); le.PutUint32(h.image[e+28:], 1<<20) }, TooLarge, "1048576"},
		"signature missing":          {func(h *hostile) { e, _ := h.entry(nameSignature); h.image[e] = 0xe5 }, Unsigned, "isn't there"},
		"secrets of 1 GB":            {func(h *hostile) { e, _ := h.entry(nameSecrets); le.PutUint32(h.image[e+28:], 1<<30) }, TooLarge, "secrets.age"},
		"secrets missing":            {func(h *hostile) { e, _ := h.entry(nameSecrets); h.image[e] = 0xe5 }, NoSecrets, "secrets.age"},
		"flip in the volume's label": {func(h *hostile) { h.image[9728] ^= 1 }, harmless, ""},
		"flip in README.TXT":         {func(h *hostile) { _, at := h.entry(nameReadme); h.image[at] ^= 1 }, harmless, ""},
		"flip in cluster.yaml":       {func(h *hostile) { _, at := h.entry(nameCluster); h.image[at] ^= 1 }, harmless, ""},
		"flip in machines.txt":       {func(h *hostile) { _, at := h.entry(nameMachines); h.image[at] ^= 1 }, harmless, ""},
		"flip in svm.json":           {func(h *hostile) { _, at := h.entry(nameBundle); h.image[at+5000] ^= 1 }, Damaged, "does not fit"},
		"flip in secrets.age":        {func(h *hostile) { _, at := h.entry(nameSecrets); h.image[at+700] ^= 1 }, Damaged, "secrets.age"},
		"flip in the signature":      {func(h *hostile) { _, at := h.entry(nameSignature); h.image[at+90] ^= 1 }, Damaged, "signature"},
		"flip in its signed comment": {func(h *hostile) {
			_, at := h.entry(nameSignature)
			h.image[at+bytes.Index(h.image[at:], []byte("generation 7"))+11] = '8'
		}, Damaged, "does not fit"},
	}
}
