package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/auth"
	"github.com/miglink/miglink/transport"
)

// open makes a directory with a key, and opens it.
func open(t testing.TB) (k *auth.Keys, dir, kid string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "keys")
	kid, err := auth.NewKey(dir)
	require.NoError(t, err)
	k, err = auth.OpenKeys(dir, auth.KeysOptions{})
	require.NoError(t, err)
	return k, dir, kid
}

func verifier(t testing.TB, k *auth.Keys) *auth.Verifier {
	t.Helper()
	v, err := auth.NewVerifier(k, auth.VerifierOptions{})
	require.NoError(t, err)
	return v
}

// writeKey puts a key into a directory as its owner's file.
func writeKey(t testing.TB, name string, k any) {
	t.Helper()
	if _, private := k.(crypto.Signer); private {
		writePKCS8(t, name, k)
		return
	}
	der, err := x509.MarshalPKIXPublicKey(k)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
}

func writePKCS8(t testing.TB, name string, k any) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

func ecdsaKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return k
}

// good are the claims of a token that passes.
func good() jwt.MapClaims {
	return jwt.MapClaims{"aud": auth.AudienceAgent, "sub": "vm-1", "exp": time.Now().Add(time.Hour).Unix()}
}

func sign(t testing.TB, method jwt.SigningMethod, header map[string]any, c jwt.MapClaims, k any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	for name, v := range header {
		token.Header[name] = v
	}
	s, err := token.SignedString(k)
	require.NoError(t, err)
	return s
}

func TestIssuedClaimsComeBack(t *testing.T) {
	t.Parallel()
	k, _, _ := open(t)
	v := verifier(t, k)
	in := auth.Claims{
		Subject: "ann", VMs: []string{"pool-1/**"}, Grants: []string{"send:drain@pool-*", "watch"}, ID: "t-1",
		Issued: time.Now().Add(-time.Minute).Truncate(time.Second), Expires: time.Now().Add(time.Hour).Truncate(time.Second),
	}
	token, err := k.Issue(in, auth.AudienceOperator)
	require.NoError(t, err)
	out, err := v.Verify(token, auth.AudienceOperator)
	require.NoError(t, err)
	require.Equal(t, &in, out)

	_, err = v.Verify(token, auth.AudienceAgent)
	require.ErrorContains(t, err, "is for")
	token, err = k.Issue(auth.Claims{Subject: "vm-1", Expires: in.Expires}, auth.AudienceAgent)
	require.NoError(t, err)
	_, err = v.Verify(token, auth.AudienceOperator)
	require.ErrorContains(t, err, "is for")
	out, err = v.Verify(token, auth.AudienceAgent)
	require.NoError(t, err)
	require.NotEmpty(t, out.ID)
	require.WithinDuration(t, time.Now(), out.Issued, time.Minute)
}

func TestIssueRefuses(t *testing.T) {
	t.Parallel()
	k, _, _ := open(t)
	later := time.Now().Add(time.Hour)
	for want, c := range map[string]auth.Claims{
		"subject":      {Expires: later},
		"has to":       {Subject: "vm-1"},
		"expired":      {Subject: "vm-1", Expires: time.Now().Add(-time.Hour)},
		"vm_id":        {Subject: "..", Expires: later},
		"no pattern":   {Subject: "relay", VMs: []string{"["}, Expires: later},
		"empty":        {Subject: "relay", VMs: []string{""}, Expires: later},
		"at most 128":  {Subject: "relay", VMs: []string{strings.Repeat("x", 129)}, Expires: later},
		"at most 8192": {Subject: "relay", VMs: []string{"*"}, Grants: []string{strings.Repeat("x", 8<<10)}, Expires: later},
	} {
		_, err := k.Issue(c, auth.AudienceAgent)
		require.ErrorContains(t, err, want)
	}
	_, err := k.Issue(auth.Claims{Subject: "vm-1", Expires: later}, "")
	require.ErrorContains(t, err, "audience")
}

// What was not issued passes nowhere, whatever its header claims; nothing of it is in the error.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	ec, p384 := ecdsaKey(t, elliptic.P256()), ecdsaKey(t, elliptic.P384())
	writeKey(t, filepath.Join(dir, "ed.pem"), edPrivate)
	writeKey(t, filepath.Join(dir, "ec.pem"), ec.Public())
	k, err := auth.OpenKeys(dir, auth.KeysOptions{})
	require.NoError(t, err)
	v := verifier(t, k)

	ed, ecKid := map[string]any{"kid": "ed"}, map[string]any{"kid": "ec"}
	edPEM, err := os.ReadFile(filepath.Join(dir, "ec.pem"))
	require.NoError(t, err)
	with := func(key string, value any) jwt.MapClaims {
		c := good()
		if c[key] = value; value == nil {
			delete(c, key)
		}
		return c
	}
	passes := sign(t, jwt.SigningMethodEdDSA, ed, good(), edPrivate)
	ahead := sign(t, jwt.SigningMethodEdDSA, ed, with("nbf", time.Now().Add(50*time.Second).Unix()), edPrivate) // the issuer's clock
	for _, token := range []string{passes, ahead, sign(t, jwt.SigningMethodES256, ecKid, good(), ec)} {
		_, err := v.Verify(token, auth.AudienceAgent)
		require.NoError(t, err)
	}
	parts := strings.Split(passes, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"ed"}`))
	for name, token := range map[string]string{
		"empty":                 "",
		"no token":              "hello",
		"none":                  none + "." + parts[1] + ".",
		"none, signed":          none + "." + parts[1] + "." + parts[2],
		"None":                  base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"None","kid":"ed"}`)) + "." + parts[1] + ".",
		"no algorithm":          base64.RawURLEncoding.EncodeToString([]byte(`{"kid":"ed"}`)) + "." + parts[1] + "." + parts[2],
		"no signature":          parts[0] + "." + parts[1] + ".",
		"two parts":             parts[0] + "." + parts[1],
		"four parts":            passes + "." + parts[2],
		"another's claims":      parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"aud":"miglink-agent","sub":"vm-2","exp":9999999999}`)) + "." + parts[2],
		"null claims":           parts[0] + ".bnVsbA." + parts[2],
		"a line end in it":      passes[:len(passes)-1] + "\n" + passes[len(passes)-1:],
		"padded":                passes + "==",
		"too long":              passes + strings.Repeat("A", transport.MaxToken),
		"a stranger's":          sign(t, jwt.SigningMethodEdDSA, ed, good(), stranger),
		"no kid":                sign(t, jwt.SigningMethodEdDSA, nil, good(), edPrivate),
		"a kid that is none":    sign(t, jwt.SigningMethodEdDSA, map[string]any{"kid": 1}, good(), edPrivate),
		"another kid":           sign(t, jwt.SigningMethodEdDSA, map[string]any{"kid": "../ed"}, good(), edPrivate),
		"another key's kid":     sign(t, jwt.SigningMethodEdDSA, ecKid, good(), edPrivate),
		"ES256 with ed's kid":   sign(t, jwt.SigningMethodES256, ed, good(), ec),
		"ES384":                 sign(t, jwt.SigningMethodES384, ecKid, good(), p384),
		"HS256 by a public key": sign(t, jwt.SigningMethodHS256, ed, good(), []byte(edPublic)),
		"HS256 by its PEM":      sign(t, jwt.SigningMethodHS256, ecKid, good(), edPEM),
		"HS256 by nothing":      sign(t, jwt.SigningMethodHS256, ed, good(), []byte{}),
		"critical extensions":   sign(t, jwt.SigningMethodEdDSA, map[string]any{"kid": "ed", "crit": []string{"x"}, "x": 1}, good(), edPrivate),
		"no audience":           sign(t, jwt.SigningMethodEdDSA, ed, with("aud", nil), edPrivate),
		"another audience":      sign(t, jwt.SigningMethodEdDSA, ed, with("aud", auth.AudienceOperator), edPrivate),
		"both audiences":        sign(t, jwt.SigningMethodEdDSA, ed, with("aud", []string{auth.AudienceAgent, auth.AudienceOperator}), edPrivate),
		"it never expires":      sign(t, jwt.SigningMethodEdDSA, ed, with("exp", nil), edPrivate),
		"it expires some day":   sign(t, jwt.SigningMethodEdDSA, ed, with("exp", "tomorrow"), edPrivate),
		"it expires at 1e300":   sign(t, jwt.SigningMethodEdDSA, ed, with("exp", 1e300), edPrivate),
		"not yet":               sign(t, jwt.SigningMethodEdDSA, ed, with("nbf", time.Now().Add(10*time.Minute).Unix()), edPrivate),
		"nobody's":              sign(t, jwt.SigningMethodEdDSA, ed, with("sub", nil), edPrivate),
		"a subject of number":   sign(t, jwt.SigningMethodEdDSA, ed, with("sub", 7), edPrivate),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := v.Verify(token, auth.AudienceAgent)
			require.Error(t, err)
			require.Nil(t, c)
			require.NotErrorAs(t, err, new(*transport.Error), "no detail is for the peer")
			require.Less(t, len(err.Error()), 300)
			require.NotContains(t, err.Error(), "\n")
			for part := range strings.SplitSeq(token, ".") {
				if len(part) > 5 {
					require.NotContains(t, err.Error(), part)
				}
			}
		})
	}
	_, err = v.Verify(passes, "")
	require.ErrorContains(t, err, "audience")
	_, err = v.Verify(sign(t, jwt.SigningMethodES256, ed, good(), ec), auth.AudienceAgent)
	require.ErrorContains(t, err, "signs EdDSA, not ES256", "before anything is verified with that key")
}

// A token that was forged is not called expired, and one that has expired is, at its second.
func TestExpired(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	writeKey(t, filepath.Join(dir, "ed.pem"), private)
	k, err := auth.OpenKeys(dir, auth.KeysOptions{})
	require.NoError(t, err)
	old := good()
	old["exp"] = time.Now().Unix()
	token := sign(t, jwt.SigningMethodEdDSA, map[string]any{"kid": "ed"}, old, private)
	_, err = verifier(t, k).Verify(token, auth.AudienceAgent)
	require.ErrorIs(t, err, transport.ErrCredentialsExpired)
	require.Contains(t, err.Error(), "vm-1", "for the log")
	_, err = verifier(t, k).Verify(token, auth.AudienceOperator)
	require.NotErrorIs(t, err, transport.ErrCredentialsExpired)
	_, err = verifier(t, k).Verify(token[:len(token)-4]+"AAAA", auth.AudienceAgent)
	require.NotErrorIs(t, err, transport.ErrCredentialsExpired)
}

func TestIssuer(t *testing.T) {
	t.Parallel()
	_, dir, _ := open(t)
	token := func(issuer string) string {
		k, err := auth.OpenKeys(dir, auth.KeysOptions{Issuer: issuer})
		require.NoError(t, err)
		s, err := k.Issue(auth.Claims{Subject: "vm-1", Expires: time.Now().Add(time.Hour)}, auth.AudienceAgent)
		require.NoError(t, err)
		return s
	}
	k, err := auth.OpenKeys(dir, auth.KeysOptions{})
	require.NoError(t, err)
	v, err := auth.NewVerifier(k, auth.VerifierOptions{Issuer: "us"})
	require.NoError(t, err)
	_, err = v.Verify(token("us"), auth.AudienceAgent)
	require.NoError(t, err)
	for _, issuer := range []string{"", "them"} {
		_, err = v.Verify(token(issuer), auth.AudienceAgent)
		require.ErrorContains(t, err, "issued by")
	}
	_, err = verifier(t, k).Verify(token("them"), auth.AudienceAgent)
	require.NoError(t, err, "nobody asked")
}

func TestSecret(t *testing.T) {
	t.Parallel()
	secret := []byte(strings.Repeat("s", 32))
	_, err := auth.NewVerifier(nil, auth.VerifierOptions{Secret: secret[1:]})
	require.ErrorContains(t, err, "31 bytes")
	_, err = auth.NewVerifier(nil, auth.VerifierOptions{})
	require.Error(t, err)
	v, err := auth.NewVerifier(nil, auth.VerifierOptions{Secret: secret})
	require.NoError(t, err)
	c, err := v.Verify(sign(t, jwt.SigningMethodHS256, nil, good(), secret), auth.AudienceAgent)
	require.NoError(t, err)
	require.Equal(t, "vm-1", c.Subject)
	_, err = v.Verify(sign(t, jwt.SigningMethodHS256, nil, good(), secret[1:]), auth.AudienceAgent)
	require.Error(t, err)
	_, err = v.Verify(sign(t, jwt.SigningMethodHS512, nil, good(), secret), auth.AudienceAgent)
	require.Error(t, err)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, err = v.Verify(sign(t, jwt.SigningMethodEdDSA, map[string]any{"kid": "x"}, good(), private), auth.AudienceAgent)
	require.Error(t, err, "there are no keys")
}

// The grammar is that of internal/pattern, whose tests are the thorough ones.
func TestMatchVM(t *testing.T) {
	t.Parallel()
	for pattern, test := range map[string]struct{ is, isNot []string }{
		"vm-1":    {[]string{"vm-1"}, []string{"vm-10", ""}},
		"pool-*":  {[]string{"pool-", "pool-a"}, []string{"pool-a/b"}},
		"*":       {[]string{"vm-1", "ä"}, []string{"a/b"}},
		"**":      {[]string{"vm-1", "a/b/c"}, nil},
		"a**b":    {[]string{"ab", "a/b"}, []string{"a/c"}},
		"pool/**": {[]string{"pool/a", "pool/a/b"}, []string{"pool"}},
	} {
		require.NoError(t, auth.CheckVMPattern(pattern))
		for _, vm := range test.is {
			require.True(t, auth.MatchVM(pattern, vm), "%s %s", pattern, vm)
		}
		for _, vm := range test.isNot {
			require.False(t, auth.MatchVM(pattern, vm), "%s %s", pattern, vm)
		}
	}
	require.Error(t, auth.CheckVMPattern(""))
	require.Error(t, auth.CheckVMPattern(strings.Repeat("a", transport.MaxVM+1)))
}

// What had a meaning once is refused where tokens are made, and fails closed in tokens that are there.
func TestFormerPatterns(t *testing.T) {
	t.Parallel()
	k, _, _ := open(t)
	for pattern, former := range map[string]string{"zone-?": "zone-a", "vm-[0-9]": "vm-7", `vm-\1`: "vm-1", "a]": "b"} {
		require.False(t, auth.MatchVM(pattern, former))
		require.ErrorContains(t, auth.CheckVMPattern(pattern), "no longer special")
		_, err := k.Issue(auth.Claims{Subject: "relay", VMs: []string{pattern}, Expires: time.Now().Add(time.Hour)}, auth.AudienceAgent)
		require.ErrorContains(t, err, "no longer special")
	}
}
