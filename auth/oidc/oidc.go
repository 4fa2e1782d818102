// Package oidc lets VMs pass with ID tokens of an OpenID Connect issuer: of a cloud that vouches for its instances,
// or of a platform that has an identity for each workload.
//
// On Google Compute Engine, where agents have the token source of auth/gce:
//
//	oidc.New(ctx, "https://accounts.google.com", "https://controller.example.com", oidc.Options{
//		VM: "google.compute_engine.instance_name",
//		Require: map[string]string{
//			"google.compute_engine.project_id": "my-project",
//			"google.compute_engine.zone":       "europe-west3-a",
//		},
//	})
//
// Names of instances are unique in a zone of a project only: require both, or take
// google.compute_engine.instance_id for the VM.
package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/miglink/miglink/transport"
)

// Options are optional, but for what New says of Google.
type Options struct {
	// VM is the path of the claim that names the VM: names with dots in between, as in
	// google.compute_engine.instance_name. A dot that belongs to a name is written \. and a backslash \\.
	// Default: sub.
	VM string
	// Require is what a token must say besides, by path: strings as they are, true, false, and numbers as the
	// issuer writes them. Default: nothing.
	Require map[string]string
	// AuthorizedParties are those that a token may have been issued to, its azp, besides the audience and the token's own
	// subject (as Google's instances have it). A token without azp passes. Default: none.
	AuthorizedParties []string
	// MaxLife is the longest time from a token's iat to its exp. Default: 24 hours.
	MaxLife time.Duration
	// HTTP is how the issuer is reached. Default: http.DefaultTransport.
	HTTP http.RoundTripper
	// Retry has New return an Authenticator also where the issuer does not answer. The issuer is asked again for each VM
	// that dials, at most once a second; until it answers, they are told that the controller is unavailable. Default: New
	// returns an ErrIssuer.
	Retry bool
	// Log gets a warning where Retry counts. Default: none.
	Log *slog.Logger
}

// algorithms are all asymmetric: with a symmetric one the issuer's public key would be a secret.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// google issues tokens to every instance of every project there is.
const (
	google        = "accounts.google.com"
	googleProject = "google.compute_engine.project_id"
)

// ErrIssuer is an issuer that does not answer as one, or not at all.
var ErrIssuer = errors.New("the issuer does not say where its keys are")

var errUnavailable = transport.Errorf(transport.CodeUnavailable, "the issuer of the token does not answer")

// Authenticator is a transport.Authenticator. It is safe for concurrent use. Make one with New.
type Authenticator struct {
	issuer   *issuer
	vm       path
	require  []requirement
	audience string
	parties  []string
	maxLife  time.Duration
}

// defaultMaxLife is longer than what clouds issue, an hour, and than what platforms do.
const defaultMaxLife = 24 * time.Hour

// leeway is how far the issuer's clock may be ahead of ours.
const leeway = time.Minute

type requirement struct {
	path
	value string
}

// New asks the issuer for where its keys are, and returns an Authenticator that lets a VM pass with a token of the
// issuer for this audience and no other, until the token expires. A token for another VM is forbidden. One for several
// audiences does not pass: each of the others could show it here. Neither does one that was issued to another party
// (see Options), that does not say when it was issued or says a time that is more than a minute ahead, or that lives
// longer than MaxLife. The issuer's keys are asked
// for again when a token names one that is not known, at most once a second. The context bounds this call only.
//
// The issuer's URL is https, but on the loopback. For Google a required google.compute_engine.project_id is
// mandatory: the instance of that name in anybody's project would else pass.
func New(ctx context.Context, issuer, audience string, o Options) (*Authenticator, error) {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Host == "":
		return nil, fmt.Errorf("oidc: the issuer is to be a URL like https://issuer.example.com, not %q", issuer)
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return nil, fmt.Errorf("oidc: the issuer %s is not https://: anybody in between could make tokens", u.Redacted())
	case audience == "":
		return nil, errors.New("oidc: an audience is required: a token that was made for another service would else pass")
	}
	if o.MaxLife == 0 {
		o.MaxLife = defaultMaxLife
	}
	if o.MaxLife < 0 {
		return nil, fmt.Errorf("oidc: a MaxLife of %s lets no token pass", o.MaxLife)
	}
	a := &Authenticator{audience: audience, parties: slices.Clone(o.AuthorizedParties), maxLife: o.MaxLife}
	if o.VM == "" {
		o.VM = "sub"
	}
	if a.vm, err = parsePath(o.VM); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(o.Require)) {
		value := o.Require[name]
		p, err := parsePath(name)
		if err != nil {
			return nil, err
		}
		if value == "" {
			return nil, fmt.Errorf("oidc: the claim %s is required to be empty", name)
		}
		a.require = append(a.require, requirement{p, value})
	}
	if strings.EqualFold(u.Hostname(), google) && o.Require[googleProject] == "" {
		return nil, fmt.Errorf("oidc: for %s a required %s is mandatory: an instance of the same name in another project would else pass", google, googleProject)
	}
	a.issuer = newIssuer(u, issuer, audience, newClient(o.HTTP, u.Scheme))
	switch _, err := a.issuer.verifier(ctx); {
	case err != nil && (!o.Retry || errors.Is(ctx.Err(), context.Canceled)):
		return nil, err
	case err != nil && o.Log != nil:
		o.Log.Warn("VMs that show tokens of the issuer have to wait until it answers", "component", "oidc", "error", err)
	}
	return a, nil
}

// Ready returns nil when the issuer has said where its keys are, and else an ErrIssuer: see Options.Retry. It does not ask.
func (a *Authenticator) Ready() error {
	if a.issuer.known.Load() == nil {
		return fmt.Errorf("oidc: %w: %s", ErrIssuer, a.issuer.name)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Authenticate implements transport.Authenticator.
func (a *Authenticator) Authenticate(ctx context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
	if c.Token == "" {
		return transport.Grant{}, errors.New("no token was shown")
	}
	if strings.Count(c.Token, ".") != 2 || strings.ContainsAny(c.Token, "{ \t\r\n") { // other forms of a JWS
		return transport.Grant{}, errors.New("oidc: the token is no JWT")
	}
	verifier, err := a.issuer.verifier(ctx)
	if err != nil {
		return transport.Grant{}, fmt.Errorf("%w: %w", errUnavailable, err)
	}
	t, err := verifier.Verify(ctx, c.Token)
	if late := (*oidc.TokenExpiredError)(nil); errors.As(err, &late) && !late.Expiry.IsZero() {
		return transport.Grant{}, fmt.Errorf("%w: at %s", transport.Grant{}.Over(), late.Expiry)
	}
	if err != nil {
		return transport.Grant{}, brief(err)
	}
	claims, err := claimsOf(t)
	if err != nil {
		return transport.Grant{}, err
	}
	if err := a.judge(t, claims); err != nil {
		return transport.Grant{}, err
	}
	for _, r := range a.require {
		if got, err := r.text(claims); err != nil {
			return transport.Grant{}, err
		} else if got != r.value {
			return transport.Grant{}, fmt.Errorf("oidc: the claim %s is %.140q, not %q", r.path, got, r.value)
		}
	}
	named, err := a.vm.lookup(claims)
	if err != nil {
		return transport.Grant{}, err
	}
	if name, is := named.(string); !is || name == "" {
		return transport.Grant{}, fmt.Errorf("oidc: the claim %s is no name", a.vm)
	} else if name != vm {
		return transport.Grant{}, fmt.Errorf("%w: it is of %.140q", transport.Errorf(transport.CodeForbidden, "these credentials are another VM's"), name)
	}
	return transport.Grant{Expires: t.Expiry}, nil
}

// judge is what the library leaves open: whom a token is for, to whom it was issued, and for how long.
func (a *Authenticator) judge(t *oidc.IDToken, claims map[string]any) error {
	if len(t.Audience) != 1 || t.Audience[0] != a.audience {
		return fmt.Errorf("oidc: the token is for %.300q, not for %q alone", t.Audience, a.audience)
	}
	if azp, is := claims["azp"]; is {
		party, _ := azp.(string)
		if party == "" || party != a.audience && party != t.Subject && !slices.Contains(a.parties, party) {
			return fmt.Errorf("oidc: the token was issued to %.140q (azp), which is neither the audience nor the subject nor one of the authorized parties", fmt.Sprint(azp))
		}
	}
	if _, is := claims["iat"].(json.Number); !is {
		return errors.New("oidc: the token does not say when it was issued (iat)")
	}
	switch now := time.Now(); {
	case t.IssuedAt.After(now.Add(leeway)):
		return fmt.Errorf("oidc: the token was issued in the future (iat), at %s", t.IssuedAt.UTC().Format(time.RFC3339))
	case t.Expiry.Sub(t.IssuedAt) > a.maxLife:
		return fmt.Errorf("oidc: the token is good for %s from iat to exp, at most %s is allowed", t.Expiry.Sub(t.IssuedAt), a.maxLife)
	}
	return nil
}

// claimsOf has numbers as the issuer wrote them.
func claimsOf(t *oidc.IDToken) (map[string]any, error) {
	var raw json.RawMessage
	if err := t.Claims(&raw); err != nil {
		return nil, brief(err)
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var claims map[string]any
	if err := d.Decode(&claims); err != nil {
		return nil, brief(err)
	}
	return claims, nil
}

// brief is an error without a token, and without all that a server may have answered.
func brief(err error) error {
	const most = 300
	s := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "?")), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return errors.New(s)
}
