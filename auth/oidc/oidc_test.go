package oidc_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/auth/oidc"
	"github.com/miglink/miglink/transport"
)

const audience = "https://controller.example.com"

// issuer is an OpenID Connect issuer; it answers as an http.RoundTripper, too, without a network.
type issuer struct {
	url string

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	fetched int
	down    bool
	jwksURL string
}

// newIssuer listens on the loopback.
func newIssuer(t *testing.T, keys ...jose.JSONWebKey) *issuer {
	t.Helper()
	i := &issuer{keys: keys}
	s := httptest.NewServer(i)
	t.Cleanup(s.Close)
	i.url, i.jwksURL = s.URL, s.URL+"/keys"
	return i
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case i.down:
		http.Error(w, "down", http.StatusInternalServerError)
	case r.URL.Path == "/.well-known/openid-configuration":
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"id_token_signing_alg_values_supported":["none","HS256","ES256"]}`, i.url, i.jwksURL)
	case r.URL.Path == "/keys":
		i.fetched++
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: i.keys})
	default:
		http.NotFound(w, r)
	}
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	i.ServeHTTP(w, r)
	return w.Result(), nil
}

func (i *issuer) rotate(keys ...jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

func (i *issuer) setDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}

func public(kid string, k crypto.Signer) jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.Public(), KeyID: kid, Use: "sig"}
}

// instance is what the token of an instance says.
func (i *issuer) instance(edit func(jwt.MapClaims)) jwt.MapClaims {
	c := jwt.MapClaims{
		"iss": i.url, "aud": audience, "sub": "1234", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "email_verified": true,
		"google": map[string]any{"compute_engine": map[string]any{"instance_name": "vm-1", "project_id": "p", "project_number": 12345678901234567}},
		"a.b":    "dotted",
	}
	if edit != nil {
		edit(c)
	}
	return c
}

func sign(t *testing.T, method jwt.SigningMethod, kid string, c jwt.MapClaims, k any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	if kid != "" {
		token.Header["kid"] = kid
	}
	s, err := token.SignedString(k)
	require.NoError(t, err)
	return s
}

var ofInstances = oidc.Options{
	VM: "google.compute_engine.instance_name",
	Require: map[string]string{
		"google.compute_engine.project_id": "p", "google.compute_engine.project_number": "12345678901234567",
		"email_verified": "true", `a\.b`: "dotted",
	},
}

func knock(t *testing.T, a transport.Authenticator, vm, token string) (transport.Grant, transport.Code, string) {
	t.Helper()
	g, told, cause := transport.Authenticate(t.Context(), a, vm, transport.Credentials{Token: token})
	if told == nil {
		return g, "", ""
	}
	return g, told.Code, cause.Error()
}

func TestTokens(t *testing.T) {
	t.Parallel()
	k, stranger := newKey(t), newKey(t)
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	secret := []byte(strings.Repeat("s", 32))
	i := newIssuer(t, public("k", k), public("ed", edPrivate), jose.JSONWebKey{Key: secret, KeyID: "oct"})
	a, err := oidc.New(t.Context(), i.url, audience, ofInstances)
	require.NoError(t, err)

	g, code, cause := knock(t, a, "vm-1", sign(t, jwt.SigningMethodES256, "k", i.instance(nil), k))
	require.Empty(t, code, cause)
	require.WithinDuration(t, time.Now().Add(time.Hour), g.Expires, time.Minute)
	_, code, cause = knock(t, a, "vm-1", sign(t, jwt.SigningMethodEdDSA, "ed", i.instance(nil), edPrivate))
	require.Empty(t, code, cause)

	der, err := x509.MarshalPKIXPublicKey(k.Public())
	require.NoError(t, err)
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	edit := func(f func(jwt.MapClaims)) string { return sign(t, jwt.SigningMethodES256, "k", i.instance(f), k) }
	compute := func(c jwt.MapClaims) map[string]any {
		return c["google"].(map[string]any)["compute_engine"].(map[string]any)
	}
	good := edit(nil)
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"k"}`))
	general := fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2])
	for name, test := range map[string]struct {
		token string
		code  transport.Code
		why   string
	}{
		"no token":               {"", transport.CodeUnauthorized, "no token"},
		"nonsense":               {"a.b.c", transport.CodeUnauthorized, "malformed"},
		"JSON":                   {general, transport.CodeUnauthorized, "no JWT"},
		"none":                   {none + "." + parts[1] + ".", transport.CodeUnauthorized, "malformed"},
		"none, signed":           {none + "." + parts[1] + "." + parts[2], transport.CodeUnauthorized, "algorithm"},
		"HS256 by a public key":  {sign(t, jwt.SigningMethodHS256, "k", i.instance(nil), asPEM), transport.CodeUnauthorized, "algorithm"},
		"HS256 by its bytes":     {sign(t, jwt.SigningMethodHS256, "ed", i.instance(nil), []byte(edPublic)), transport.CodeUnauthorized, "algorithm"},
		"HS256 by a secret":      {sign(t, jwt.SigningMethodHS256, "oct", i.instance(nil), secret), transport.CodeUnauthorized, "algorithm"},
		"a stranger's key":       {sign(t, jwt.SigningMethodES256, "k", i.instance(nil), stranger), transport.CodeUnauthorized, "signature"},
		"another key's kid":      {sign(t, jwt.SigningMethodES256, "ed", i.instance(nil), k), transport.CodeUnauthorized, "signature"},
		"an unknown kid":         {sign(t, jwt.SigningMethodES256, "x", i.instance(nil), k), transport.CodeUnauthorized, "signature"},
		"wrong audience":         {edit(func(c jwt.MapClaims) { c["aud"] = "https://elsewhere" }), transport.CodeUnauthorized, "audience"},
		"no audience":            {edit(func(c jwt.MapClaims) { delete(c, "aud") }), transport.CodeUnauthorized, "audience"},
		"wrong issuer":           {edit(func(c jwt.MapClaims) { c["iss"] = "https://accounts.google.com" }), transport.CodeUnauthorized, "provider"},
		"no issuer":              {edit(func(c jwt.MapClaims) { delete(c, "iss") }), transport.CodeUnauthorized, "provider"},
		"expired":                {edit(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Second).Unix() }), transport.CodeCredentialsExpired, ""},
		"expired, forged":        {sign(t, jwt.SigningMethodES256, "k", i.instance(func(c jwt.MapClaims) { c["exp"] = 1 }), stranger), transport.CodeUnauthorized, "signature"},
		"it never expires":       {edit(func(c jwt.MapClaims) { delete(c, "exp") }), transport.CodeUnauthorized, "expired"},
		"not yet":                {edit(func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() }), transport.CodeUnauthorized, "nbf"},
		"several audiences":      {edit(func(c jwt.MapClaims) { c["aud"] = []string{audience, "https://elsewhere"} }), transport.CodeUnauthorized, "alone"},
		"our audience twice":     {edit(func(c jwt.MapClaims) { c["aud"] = []string{audience, audience} }), transport.CodeUnauthorized, "alone"},
		"issued to another":      {edit(func(c jwt.MapClaims) { c["azp"] = "https://elsewhere" }), transport.CodeUnauthorized, "azp"},
		"issued to nobody":       {edit(func(c jwt.MapClaims) { c["azp"] = "" }), transport.CodeUnauthorized, "azp"},
		"issued to many":         {edit(func(c jwt.MapClaims) { c["azp"] = []string{audience} }), transport.CodeUnauthorized, "azp"},
		"issued in the future":   {edit(func(c jwt.MapClaims) { c["iat"] = time.Now().Add(2 * time.Minute).Unix() }), transport.CodeUnauthorized, "future"},
		"issued at no time":      {edit(func(c jwt.MapClaims) { delete(c, "iat") }), transport.CodeUnauthorized, "iat"},
		"issued at nothing":      {edit(func(c jwt.MapClaims) { c["iat"] = nil }), transport.CodeUnauthorized, "claims"},
		"issued before all":      {edit(func(c jwt.MapClaims) { c["iat"] = -1e18 }), transport.CodeUnauthorized, "at most 24h"},
		"a life of a year":       {edit(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(365 * 24 * time.Hour).Unix() }), transport.CodeUnauthorized, "at most 24h"},
		"a life that is long":    {edit(func(c jwt.MapClaims) { c["iat"] = time.Now().Add(-24 * time.Hour).Unix() }), transport.CodeUnauthorized, "at most 24h"},
		"another VM's":           {edit(func(c jwt.MapClaims) { compute(c)["instance_name"] = "vm-2" }), transport.CodeForbidden, "vm-2"},
		"another project's":      {edit(func(c jwt.MapClaims) { compute(c)["project_id"] = "q" }), transport.CodeUnauthorized, `"q", not "p"`},
		"a number that is near":  {edit(func(c jwt.MapClaims) { compute(c)["project_number"] = 12345678901234568 }), transport.CodeUnauthorized, "project_number"},
		"not verified":           {edit(func(c jwt.MapClaims) { c["email_verified"] = false }), transport.CodeUnauthorized, "email_verified"},
		"several projects":       {edit(func(c jwt.MapClaims) { compute(c)["project_id"] = []string{"p"} }), transport.CodeUnauthorized, "neither a string"},
		"a name in dots":         {edit(func(c jwt.MapClaims) { delete(c, "google"); c["google.compute_engine.project_id"] = "p" }), transport.CodeUnauthorized, "no claim"},
		"no project":             {edit(func(c jwt.MapClaims) { delete(compute(c), "project_id") }), transport.CodeUnauthorized, "no claim google.compute_engine.project_id"},
		"no name":                {edit(func(c jwt.MapClaims) { delete(compute(c), "instance_name") }), transport.CodeUnauthorized, "no claim"},
		"an empty name":          {edit(func(c jwt.MapClaims) { compute(c)["instance_name"] = "" }), transport.CodeUnauthorized, "no name"},
		"a name that is none":    {edit(func(c jwt.MapClaims) { compute(c)["instance_name"] = 1 }), transport.CodeUnauthorized, "no name"},
		"a claim that is no map": {edit(func(c jwt.MapClaims) { c["google"] = "p" }), transport.CodeUnauthorized, "no claim"},
	} {
		_, code, cause := knock(t, a, "vm-1", test.token)
		require.Equal(t, test.code, code, "%s: %s", name, cause)
		require.Contains(t, cause, test.why, name)
		require.NotContains(t, cause, "\n")
		require.Less(t, len(cause), 400)
		if len(test.token) > 10 {
			require.NotContains(t, cause, test.token, name)
		}
	}
}

// What a token may say all the same, and what options allow.
func TestPartiesAndLives(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	i := newIssuer(t, public("k", k))
	with := func(edit func(*oidc.Options)) transport.Authenticator {
		o := ofInstances
		edit(&o)
		a, err := oidc.New(t.Context(), i.url, audience, o)
		require.NoError(t, err)
		return a
	}
	defaults := with(func(*oidc.Options) {})
	partner := with(func(o *oidc.Options) { o.AuthorizedParties = []string{"x", "partner"} })
	short := with(func(o *oidc.Options) { o.MaxLife = time.Hour - time.Second })
	long := with(func(o *oidc.Options) { o.MaxLife = 400 * 24 * time.Hour })
	for name, test := range map[string]struct {
		a    transport.Authenticator
		edit func(jwt.MapClaims)
		code transport.Code
	}{
		"one audience, as a list":   {defaults, func(c jwt.MapClaims) { c["aud"] = []string{audience} }, ""},
		"issued to the audience":    {defaults, func(c jwt.MapClaims) { c["azp"] = audience }, ""},
		"issued to the subject":     {defaults, func(c jwt.MapClaims) { c["azp"] = "1234" }, ""},
		"a clock a little ahead":    {defaults, func(c jwt.MapClaims) { c["iat"] = time.Now().Add(50 * time.Second).Unix() }, ""},
		"a day":                     {defaults, func(c jwt.MapClaims) { c["iat"] = time.Now().Add(-22 * time.Hour).Unix() }, ""},
		"issued to a partner":       {partner, func(c jwt.MapClaims) { c["azp"] = "partner" }, ""},
		"issued to who is not one":  {partner, func(c jwt.MapClaims) { c["azp"] = "y" }, transport.CodeUnauthorized},
		"longer than a shorter one": {short, nil, transport.CodeUnauthorized},
		"a year, where it is meant": {long, func(c jwt.MapClaims) { c["exp"] = time.Now().Add(365 * 24 * time.Hour).Unix() }, ""},
	} {
		_, code, cause := knock(t, test.a, "vm-1", sign(t, jwt.SigningMethodES256, "k", i.instance(test.edit), k))
		require.Equal(t, test.code, code, "%s: %s", name, cause)
	}
}

// By default the subject is the VM.
func TestSubject(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	i := newIssuer(t, public("k", k))
	a, err := oidc.New(t.Context(), i.url, audience, oidc.Options{})
	require.NoError(t, err)
	_, code, _ := knock(t, a, "1234", sign(t, jwt.SigningMethodES256, "k", i.instance(nil), k))
	require.Empty(t, code)
	_, code, _ = knock(t, a, "vm-1", sign(t, jwt.SigningMethodES256, "k", i.instance(nil), k))
	require.Equal(t, transport.CodeForbidden, code)
}

// A new key of the issuer's is found when a token names it, and one that is gone passes no more once others were
// fetched. Tokens with keys that nobody knows make for one request a second.
func TestRotation(t *testing.T) {
	t.Parallel()
	old, fresh := newKey(t), newKey(t)
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{url: "https://issuer.example.com", jwksURL: "https://issuer.example.com/keys", keys: []jose.JSONWebKey{public("old", old)}}
		o := ofInstances
		o.HTTP = i
		a, err := oidc.New(t.Context(), i.url, audience, o)
		require.NoError(t, err)
		token := func(kid string, k *ecdsa.PrivateKey) string {
			return sign(t, jwt.SigningMethodES256, kid, i.instance(nil), k)
		}
		for range 3 {
			_, code, cause := knock(t, a, "vm-1", token("old", old))
			require.Empty(t, code, cause)
		}
		require.Equal(t, 1, i.fetched)
		synctest.Wait()
		i.rotate(public("fresh", fresh))
		_, code, cause := knock(t, a, "vm-1", token("fresh", fresh))
		require.Empty(t, code, cause)
		synctest.Wait() // the library answers who has asked for the keys, and then keeps them
		_, code, _ = knock(t, a, "vm-1", token("old", old))
		require.Equal(t, transport.CodeUnauthorized, code)

		begun, fetched := time.Now(), i.fetched
		for range 10 {
			synctest.Wait() // or the library answers with the keys of the last request
			_, code, _ = knock(t, a, "vm-1", token("unknown", fresh))
			require.Equal(t, transport.CodeUnauthorized, code)
		}
		require.Equal(t, 10, i.fetched-fetched)
		require.GreaterOrEqual(t, time.Since(begun), 10*time.Second, "of the clock that is not real")

		i.down = true
		_, code, _ = knock(t, a, "vm-1", token("unknown", fresh))
		require.Equal(t, transport.CodeUnauthorized, code)
		_, code, _ = knock(t, a, "vm-1", token("fresh", fresh))
		require.Empty(t, code, "the keys that are known")
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	elsewhere := newIssuer(t)
	elsewhere.url = i.url
	down := newIssuer(t)
	down.down = true
	address := strings.TrimPrefix(elsewhere.jwksURL, "http://")
	for want, test := range map[string]struct {
		issuer, audience string
		o                oidc.Options
	}{
		"audience is required":         {i.url, "", oidc.Options{}},
		"a URL like":                   {"accounts.google.com", audience, oidc.Options{}},
		"not https":                    {"http://issuer.example.com", audience, oidc.Options{}},
		"192.0.2.1 is not https":       {"http://192.0.2.1", audience, oidc.Options{}},
		"is mandatory":                 {"https://accounts.google.com", audience, oidc.Options{VM: "google.compute_engine.instance_name"}},
		"project_id is mandatory":      {"https://ACCOUNTS.google.com:443/", audience, oidc.Options{Require: map[string]string{"sub": "x"}}},
		"empty name":                   {i.url, audience, oidc.Options{VM: "a..b"}},
		"has an empty":                 {i.url, audience, oidc.Options{Require: map[string]string{".a": "x"}}},
		`before what is neither`:       {i.url, audience, oidc.Options{VM: `a\b`}},
		"required to be empty":         {i.url, audience, oidc.Options{Require: map[string]string{"a": ""}}},
		"lets no token pass":           {i.url, audience, oidc.Options{MaxLife: -1}},
		"500":                          {down.url, audience, oidc.Options{}},
		"match the issuer":             {"http://" + strings.TrimSuffix(address, "/keys"), audience, oidc.Options{}},
		"keys are: http://127.0.0.1:1": {"http://127.0.0.1:1", audience, oidc.Options{}},
	} {
		_, err := oidc.New(t.Context(), test.issuer, test.audience, test.o)
		require.ErrorContains(t, err, want)
	}
}

// An issuer that is down when the controller starts keeps out those who show its tokens, and says why, until it is back.
func TestIssuerDownAtStart(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	i := newIssuer(t, public("k", k))
	i.setDown(true)
	var log strings.Builder
	a, err := oidc.New(t.Context(), i.url, audience, oidc.Options{Retry: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.Contains(t, log.String(), "500")
	token := sign(t, jwt.SigningMethodES256, "k", i.instance(nil), k)
	require.ErrorIs(t, a.Ready(), oidc.ErrIssuer)
	var all sync.WaitGroup
	for range 20 { // one asks for all
		all.Go(func() {
			_, code, why := knock(t, a, "1234", token)
			assert.Equal(t, transport.CodeUnavailable, code)
			assert.Contains(t, why, "500")
		})
	}
	all.Wait()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = a.Authenticate(gone, "1234", transport.Credentials{Token: token})
	require.ErrorIs(t, err, context.Canceled)
	_, code, _ := knock(t, a, "1234", "no token")
	require.Equal(t, transport.CodeUnauthorized, code, "the issuer is not asked for this")

	i.setDown(false)
	require.Eventually(t, func() bool {
		_, code, _ := knock(t, a, "1234", token)
		return code == ""
	}, time.Minute, time.Millisecond)
	i.setDown(true)
	require.NoError(t, a.Ready())
	_, code, _ = knock(t, a, "1234", token)
	require.Empty(t, code, "it is not asked again")

	_, err = oidc.New(gone, i.url, audience, oidc.Options{Retry: true})
	require.ErrorIs(t, err, oidc.ErrIssuer)
}

// An issuer over https whose keys are somewhere without: who is in between could put in others.
func TestKeysOverHTTPS(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	i := &issuer{url: "https://issuer.example.com", jwksURL: "http://issuer.example.com/keys", keys: []jose.JSONWebKey{public("k", k)}}
	o := ofInstances
	o.HTTP = i
	a, err := oidc.New(t.Context(), i.url, audience, o)
	require.NoError(t, err)
	_, code, cause := knock(t, a, "vm-1", sign(t, jwt.SigningMethodES256, "k", i.instance(nil), k))
	require.Equal(t, transport.CodeUnauthorized, code)
	require.Contains(t, cause, "is not https")
}
