package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/miglink/miglink/transport"
)

// JWT lets a VM pass that shows a token for AudienceAgent which speaks for it, until the token expires. A token for
// another VM is forbidden.
func JWT(v *Verifier) transport.Authenticator {
	return transport.AuthenticatorFunc(func(_ context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
		claims, err := v.Verify(c.Token, AudienceAgent)
		if err != nil {
			return transport.Grant{}, err
		}
		if !claims.SpeaksFor(vm) {
			return transport.Grant{}, fmt.Errorf("%w: the token %.60q is %.140q's", errAnother, claims.ID, claims.Subject)
		}
		return transport.Grant{Expires: claims.Expires}, nil
	})
}

// errAnother says no more than that: whose the credentials are is for the log.
var errAnother = transport.Errorf(transport.CodeForbidden, "these credentials are another VM's")

// Certificate lets a VM pass whose certificate the server has verified, until it expires, if names returns the VM
// among others. Another VM's is forbidden. A nil names is CertificateNames. The authority that the server trusts
// has to be one that makes certificates for VMs only: whoever has one of a VM's name is that VM.
func Certificate(names func(*x509.Certificate) []string) transport.Authenticator {
	if names == nil {
		names = CertificateNames
	}
	return transport.AuthenticatorFunc(func(_ context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
		if c.Certificate == nil {
			return transport.Grant{}, errors.New("no certificate was shown")
		}
		g := transport.Grant{Expires: c.Certificate.NotAfter}
		if !time.Now().Before(g.Expires) { // the connection is older than that
			return transport.Grant{}, g.Over()
		}
		is := names(c.Certificate)
		if vm == "" || !slices.Contains(is, vm) {
			return transport.Grant{}, fmt.Errorf("%w: the certificate is of %.300q", errAnother, is)
		}
		return g, nil
	})
}

// urn begins a URI that names a VM.
const urn = "miglink:vm:"

// CertificateURI is what names a VM in a certificate: urn:miglink:vm: and the name, percent-escaped. Any name fits,
// also one that is no DNS name.
func CertificateURI(vm string) *url.URL {
	return &url.URL{Scheme: "urn", Opaque: urn + url.PathEscape(vm)}
}

// CertificateNames are the VMs that a certificate is of: its DNS names as they are, and its URIs as CertificateURI
// makes them.
func CertificateNames(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, u := range c.URIs {
		escaped, is := strings.CutPrefix(u.Opaque, urn)
		if !is || u.Scheme != "urn" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
			continue
		}
		if vm, err := url.PathUnescape(escaped); err == nil && transport.ValidateVM(vm) == nil {
			names = append(names, vm)
		}
	}
	return names
}

// User lets a VM pass whom the broker knows by the VM's name, as RabbitMQ's users are. Anybody else is forbidden.
func User() transport.Authenticator {
	return transport.AuthenticatorFunc(func(_ context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
		switch {
		case c.User == "":
			return transport.Grant{}, errors.New("no broker says whose the hello is")
		case c.User != vm:
			return transport.Grant{}, fmt.Errorf("%w: the user is %.140q", errAnother, c.User)
		}
		return transport.Grant{}, nil
	})
}

// Any lets pass whom one of several lets pass, and asks them in turn. Where none does, what is told is the most
// telling of what they say: that credentials have expired, then that they are another's, then anything else that
// may be told. The error's text has them all. Of none at all nobody passes.
func Any(authenticators ...transport.Authenticator) transport.Authenticator {
	authenticators = slices.Clone(authenticators)
	return transport.AuthenticatorFunc(func(ctx context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
		var why []error
		for _, a := range authenticators {
			g, err := a.Authenticate(ctx, vm, c)
			if err == nil && !g.Expires.IsZero() && !time.Now().Before(g.Expires) {
				err = g.Over()
			}
			if err == nil {
				return g, nil
			}
			why = append(why, err)
		}
		if len(why) == 0 {
			return transport.Grant{}, errors.New("there is no way to pass")
		}
		slices.SortStableFunc(why, func(a, b error) int { return telling(b) - telling(a) })
		all := why[0]
		for _, err := range why[1:] {
			all = fmt.Errorf("%w; %w", all, err) // the first is what is told
		}
		return transport.Grant{}, all
	})
}

// telling is how much an error tells the peer.
func telling(err error) int {
	var said *transport.Error
	switch {
	case !errors.As(err, &said) || said.Code == transport.CodeUnauthorized:
		return 0
	case said.Code == transport.CodeForbidden:
		return 2
	case said.Code == transport.CodeCredentialsExpired:
		return 3
	}
	return 1
}
