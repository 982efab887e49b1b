package main

import (
	"crypto/ed25519"
	"strings"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
)

func newSSHKey(ts *testscript.TestScript) string {
	public, _, err := ed25519.GenerateKey(nil)
	ts.Check(err)
	key, err := ssh.NewPublicKey(public)
	ts.Check(err)
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func newRecipient(ts *testscript.TestScript) string {
	id, err := age.GenerateX25519Identity()
	ts.Check(err)
	return id.Recipient().String()
}
