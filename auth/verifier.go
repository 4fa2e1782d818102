package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/miglink/miglink/transport"
)

// minSecret is the least length of a secret, in bytes: that of the hash.
const minSecret = 32

// VerifierOptions are optional.
type VerifierOptions struct {
	// Issuer is the iss that a token must have. Default: any, or none.
	Issuer string
	// Secret is what tokens with HS256 are signed with, at least 32 bytes that nobody can guess. Who can verify
	// those can issue them, too: use Keys where there is a choice. Default: no such token passes.
	Secret []byte
}

// Verifier tells tokens that were issued from all others. It is safe for concurrent use.
type Verifier struct {
	keys   *Keys
	o      VerifierOptions
	parser *jwt.Parser
}

// NewVerifier returns a Verifier of tokens that one of keys has signed, or the secret. Keys may be nil where there is
// a secret.
func NewVerifier(keys *Keys, o VerifierOptions) (*Verifier, error) {
	var methods []string
	if keys != nil {
		methods = append(methods, jwt.SigningMethodEdDSA.Alg(), jwt.SigningMethodES256.Alg())
	}
	switch {
	case len(o.Secret) >= minSecret:
		methods = append(methods, jwt.SigningMethodHS256.Alg())
	case len(o.Secret) > 0:
		return nil, fmt.Errorf("auth: the secret has %d bytes, at least %d are needed", len(o.Secret), minSecret)
	case keys == nil:
		return nil, errors.New("auth: there are neither keys nor a secret to verify tokens with")
	}
	return &Verifier{keys, o, jwt.NewParser(jwt.WithValidMethods(methods), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())}, nil
}

// Verify returns the claims of a token that is good now, for this audience and no other. A token that is no longer
// good is a *transport.Error with CodeCredentialsExpired; any other error has the details, for a log. None holds the
// token.
func (v *Verifier) Verify(token, audience string) (*Claims, error) {
	switch {
	case token == "":
		return nil, errors.New("no token was shown")
	case len(token) > transport.MaxToken:
		return nil, fmt.Errorf("the token has %d bytes, at most %d are allowed", len(token), transport.MaxToken)
	case strings.ContainsAny(token, "\r\n"): // base64 would skip them
		return nil, errors.New("the token has line ends")
	case audience == "":
		return nil, errors.New("auth: a token is verified for an audience")
	}
	var signed raw
	if _, err := v.parser.ParseWithClaims(token, &signed, v.key); err != nil {
		return nil, brief(err)
	}
	var p payload
	if err := json.Unmarshal(signed.json, &p); err != nil {
		return nil, fmt.Errorf("the token's claims: %w", err)
	}
	return p.claims(audience, v.o.Issuer)
}

// key is the one that a token's header names, if the token is signed the way that fits it.
func (v *Verifier) key(t *jwt.Token) (any, error) {
	if _, is := t.Header["crit"]; is { // RFC 7515, section 4.1.11: what must be understood, and is not
		return nil, errors.New("its header has critical extensions")
	}
	if t.Method == jwt.SigningMethodHS256 {
		return v.o.Secret, nil // the parser lets it pass only where there is one
	}
	kid, _ := t.Header["kid"].(string)
	if kid == "" {
		return nil, errors.New("it names no key")
	}
	k, ok := v.keys.find(kid)
	if !ok {
		return nil, fmt.Errorf("there is no key %.64q", kid)
	}
	if k.method != t.Method {
		return nil, fmt.Errorf("the key %.64q signs %s, not %s", kid, k.method.Alg(), t.Method.Alg())
	}
	return k.public, nil
}

// raw is a payload that is not looked into before its signature is known to be good.
type raw struct {
	json json.RawMessage
	unjudged
}

func (r *raw) UnmarshalJSON(b []byte) error { return r.json.UnmarshalJSON(b) }

// brief is why package jwt refuses a token, without anything of the token but the names in its header.
func brief(err error) error {
	const most = 200
	s := strings.ToValidUTF8(err.Error(), "?")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return errors.New(s)
}
