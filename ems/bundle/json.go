package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// encode is the one form in which bundles and parts are written: indented, so that a
// person can read it, fields in the order of the types, a newline at the end.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(v)
	return b.Bytes(), err
}

// decode reads exactly what encode writes. That v, encoded again, must give the same
// bytes refuses what encoding/json is lenient about: fields given twice or in other
// letters, trailing data, broken UTF-8, other spellings of a number.
func decode(what string, raw []byte, v any) error {
	var f struct {
		Format json.RawMessage `json:"format"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return refuse(Damaged, what, sendAgain, "it isn't JSON: %v", err)
	}
	if string(f.Format) != "1" {
		return refuse(UnknownFormat, what, sameVersion, "format %.20q, this program knows 1", f.Format)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return refuse(Damaged, what, sendAgain, "%s can't be a %.40s", kind.Field, kind.Value)
		}
		return refuse(Damaged, what, sendAgain, "%v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return refuse(Damaged, what, sendAgain, "something follows its end")
	}
	again, err := encode(v)
	if err != nil || !bytes.Equal(again, raw) {
		return refuse(Damaged, what, sendAgain, "it isn't written as the station writes it (a field given twice, perhaps)")
	}
	return nil
}
