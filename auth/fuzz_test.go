package auth_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/auth"
)

// FuzzVerify: no token passes but those that were issued, for the audience that they were issued for, and none of
// what is put together from their parts or has one bit changed.
func FuzzVerify(f *testing.F) {
	seed := sha256.Sum256([]byte("a key that is the same in every process of the fuzzer"))
	private := ed25519.NewKeyFromSeed(seed[:])
	dir := f.TempDir()
	writeKey(f, filepath.Join(dir, "ed.pem"), private)
	k, err := auth.OpenKeys(dir, auth.KeysOptions{})
	require.NoError(f, err)
	v, err := auth.NewVerifier(k, auth.VerifierOptions{Secret: seed[:]})
	require.NoError(f, err)

	issued := map[string]string{}
	add := func(method jwt.SigningMethod, audience string, key any) {
		token := sign(f, method, map[string]any{"kid": "ed"}, jwt.MapClaims{
			"aud": audience, "sub": "vm-1", "exp": time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).Unix(),
		}, key)
		issued[token] = audience
		f.Add(token)
		parts := strings.Split(token, ".")
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"ed"}`)) + "." + parts[1] + ".")
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","kid":"ed"}`)) + "." + parts[1] + "." + parts[2])
		f.Add(parts[0] + ".e30." + parts[2])
		f.Add(token[:len(token)-1] + "\r\n" + token[len(token)-1:])
		f.Add(token[:len(token)-1] + string(token[len(token)-1]+1)) // bits that base64 might ignore
	}
	add(jwt.SigningMethodEdDSA, auth.AudienceAgent, private)
	add(jwt.SigningMethodEdDSA, auth.AudienceOperator, private)
	add(jwt.SigningMethodHS256, auth.AudienceAgent, seed[:])

	f.Fuzz(func(t *testing.T, token string) {
		for _, audience := range []string{auth.AudienceAgent, auth.AudienceOperator} {
			c, err := v.Verify(token, audience)
			if passes := issued[token] == audience; passes != (err == nil) {
				t.Fatalf("for %s: %+v, %v", audience, c, err)
			}
			if err != nil && len(token) > 64 && strings.Contains(err.Error(), token) {
				t.Fatalf("the token is in %v", err)
			}
		}
	})
}
