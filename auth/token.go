package auth

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/miglink/miglink/transport"
)

// Audiences of tokens. A token has one, and passes as nothing else.
const (
	AudienceAgent    = "miglink-agent"    // a VM's
	AudienceOperator = "miglink-operator" // of those who send commands
)

// Claims are what a token says of who shows it.
type Claims struct {
	// Subject is the VM, or the operator. With VMs it is only a name.
	Subject string
	// VMs are patterns of VMs that a relay speaks for, see MatchVM. Without any it is the Subject alone.
	VMs []string
	// Grants are what an operator may do. This package only carries them.
	Grants []string
	// Issued is when the token was made. Zero is now for Issue, and not known from Verify.
	Issued time.Time
	// Expires is when the token is worth nothing any more.
	Expires time.Time
	// ID tells tokens apart, in a log.
	ID string
}

// SpeaksFor says whether a VM's token with these claims is good for vm.
func (c *Claims) SpeaksFor(vm string) bool {
	if len(c.VMs) == 0 {
		return c.Subject == vm && vm != ""
	}
	for _, pattern := range c.VMs {
		if MatchVM(pattern, vm) {
			return true
		}
	}
	return false
}

// check says what is wrong with claims that are to be issued.
func (c *Claims) check(audience string) error {
	switch {
	case audience == "":
		return errors.New("a token needs an audience")
	case c.Subject == "" && len(c.VMs) == 0:
		return errors.New("a token needs a subject")
	case c.Expires.IsZero():
		return errors.New("a token has to expire")
	case c.Expires.Unix() <= time.Now().Unix():
		return errors.New("the token would have expired already")
	}
	for _, pattern := range c.VMs {
		if err := CheckVMPattern(pattern); err != nil {
			return err
		}
	}
	if audience == AudienceAgent && len(c.VMs) == 0 {
		return transport.ValidateVM(c.Subject)
	}
	return nil
}

// payload is the claims as they are in a token.
type payload struct {
	Issuer    string           `json:"iss,omitempty"`
	Subject   string           `json:"sub,omitempty"`
	Audience  jwt.ClaimStrings `json:"aud"`
	VMs       []string         `json:"vms,omitempty"`
	Grants    []string         `json:"grants,omitempty"`
	Expires   *seconds         `json:"exp,omitempty"`
	NotBefore *seconds         `json:"nbf,omitempty"`
	Issued    *seconds         `json:"iat,omitempty"`
	ID        string           `json:"jti,omitempty"`
	unjudged
}

func (c *Claims) payload(audience, issuer string) payload {
	issued, expires := seconds(c.Issued), seconds(c.Expires)
	if c.Issued.IsZero() {
		issued = seconds(time.Now())
	}
	p := payload{
		Issuer: issuer, Subject: c.Subject, Audience: jwt.ClaimStrings{audience}, VMs: c.VMs, Grants: c.Grants,
		Expires: &expires, Issued: &issued, ID: c.ID,
	}
	if p.ID == "" {
		p.ID = rand.Text()
	}
	return p
}

// leeway is how far the issuer's clock may be ahead of ours.
const leeway = time.Minute

// claims judges a payload whose signature is good.
func (p *payload) claims(audience, issuer string) (*Claims, error) {
	c := &Claims{Subject: p.Subject, VMs: p.VMs, Grants: p.Grants, ID: p.ID}
	now := time.Now()
	switch {
	case len(p.Audience) != 1 || p.Audience[0] != audience:
		return nil, fmt.Errorf("the token is for %.100q, not for %q", []string(p.Audience), audience)
	case issuer != "" && p.Issuer != issuer:
		return nil, fmt.Errorf("the token was issued by %.100q, not by %q", p.Issuer, issuer)
	case p.Expires == nil:
		return nil, errors.New("the token does not expire")
	case p.NotBefore != nil && now.Add(leeway).Before(time.Time(*p.NotBefore)):
		return nil, fmt.Errorf("the token is not good before %s (nbf); it is %s here", time.Time(*p.NotBefore).UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case p.Subject == "" && len(p.VMs) == 0:
		return nil, errors.New("the token has no subject")
	}
	if p.Issued != nil {
		c.Issued = time.Time(*p.Issued)
	}
	c.Expires = time.Time(*p.Expires)
	if !now.Before(c.Expires) {
		return nil, fmt.Errorf("%w: the token %.60q of %.140q, at %s", transport.Grant{}.Over(), c.ID, c.Subject, c.Expires.UTC().Format(time.RFC3339))
	}
	return c, nil
}

// seconds is a NumericDate (RFC 7519, section 2): seconds since 1970, also parts of them.
type seconds time.Time

// year10000 is where times end that can be written, in seconds since 1970.
const year10000 = 253402300800

func (s seconds) MarshalJSON() ([]byte, error) { return json.Marshal(time.Time(s).Unix()) }

func (s *seconds) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil || f < 0 || f >= year10000 {
		return errors.New("a time is no number of seconds since 1970")
	}
	whole, part := math.Modf(f)
	*s = seconds(time.Unix(int64(whole), int64(part*1e9)))
	return nil
}

// unjudged makes claims of package jwt that it leaves alone: we judge them ourselves, after the signature.
type unjudged struct{}

func (unjudged) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (unjudged) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (unjudged) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (unjudged) GetIssuer() (string, error)                   { return "", nil }
func (unjudged) GetSubject() (string, error)                  { return "", nil }
func (unjudged) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }
