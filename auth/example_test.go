package auth_test

import (
	"fmt"
	"log"
	"os"
	"time"

	"github.com/miglink/miglink/auth"
)

// A token of a controller's own keys, issued and verified. Another process that has the keys, or only their
// public halves, verifies it as well.
func ExampleKeys() {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if _, err := auth.NewKey(dir); err != nil {
		log.Fatal(err)
	}
	keys, err := auth.OpenKeys(dir, auth.KeysOptions{})
	if err != nil {
		log.Fatal(err)
	}
	token, err := keys.Issue(auth.Claims{Subject: "vm-1", Expires: time.Now().Add(time.Hour)}, auth.AudienceAgent)
	if err != nil {
		log.Fatal(err)
	}

	v, err := auth.NewVerifier(keys, auth.VerifierOptions{})
	if err != nil {
		log.Fatal(err)
	}
	claims, err := v.Verify(token, auth.AudienceAgent)
	fmt.Println(claims.Subject, err)
	_, err = v.Verify(token, auth.AudienceOperator)
	fmt.Println(err)
	// Output:
	// vm-1 <nil>
	// the token is for ["miglink-agent"], not for "miglink-operator"
}
