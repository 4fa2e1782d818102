package auth_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/auth"
	"github.com/miglink/miglink/transport"
)

// knock is what a server half tells a peer, and what it logs.
func knock(t testing.TB, a transport.Authenticator, vm string, c transport.Credentials) (transport.Grant, transport.Code, string) {
	t.Helper()
	g, told, cause := transport.Authenticate(t.Context(), a, vm, c)
	if told == nil {
		require.NoError(t, cause)
		return g, "", ""
	}
	require.Zero(t, g)
	return g, told.Code, cause.Error()
}

func TestJWT(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k, _, _ := open(t)
		a := auth.JWT(verifier(t, k))
		expires := time.Now().Add(time.Minute)
		token := func(c auth.Claims, audience string) transport.Credentials {
			c.Expires = expires
			s, err := k.Issue(c, audience)
			require.NoError(t, err)
			return transport.Credentials{Token: s}
		}
		own := token(auth.Claims{Subject: "vm-1"}, auth.AudienceAgent)
		relay := token(auth.Claims{Subject: "relay", VMs: []string{"pool-1/*", "vm-*4"}}, auth.AudienceAgent)
		operator := token(auth.Claims{Subject: "vm-1", Grants: []string{"send:*"}}, auth.AudienceOperator)
		for _, test := range []struct {
			name string
			c    transport.Credentials
			vm   string
			code transport.Code
		}{
			{"its own", own, "vm-1", ""},
			{"another's", own, "vm-2", transport.CodeForbidden},
			{"a longer name", own, "vm-10", transport.CodeForbidden},
			{"one of many", relay, "pool-1/a", ""},
			{"another one of many", relay, "vm-4", ""},
			{"none of many", relay, "pool-1/a/b", transport.CodeForbidden},
			{"the relay itself", relay, "relay", transport.CodeForbidden},
			{"an operator's", operator, "vm-1", transport.CodeUnauthorized},
			{"none", transport.Credentials{User: "vm-1"}, "vm-1", transport.CodeUnauthorized},
			{"nonsense", transport.Credentials{Token: "vm-1"}, "vm-1", transport.CodeUnauthorized},
		} {
			g, code, cause := knock(t, a, test.vm, test.c)
			require.Equal(t, test.code, code, "%s: %s", test.name, cause)
			if code == "" {
				require.True(t, expires.Equal(g.Expires), "exactly: %s", g.Expires)
				continue
			}
			if len(test.c.Token) > 10 {
				require.NotContains(t, cause, test.c.Token)
			}
		}
		_, told, cause := transport.Authenticate(t.Context(), a, "vm-2", own)
		require.NotContains(t, told.Message, "vm-1", "whose it is, is for the log")
		require.Contains(t, cause.Error(), "vm-1")

		time.Sleep(time.Minute - time.Nanosecond)
		_, code, _ := knock(t, a, "vm-1", own)
		require.Empty(t, code)
		time.Sleep(time.Nanosecond)
		_, code, _ = knock(t, a, "vm-1", own)
		require.Equal(t, transport.CodeCredentialsExpired, code)
		_, err := verifier(t, k).Verify(own.Token, auth.AudienceAgent)
		require.ErrorIs(t, err, transport.ErrCredentialsExpired, "at its second, not after")
		_, code, _ = knock(t, a, "vm-1", operator)
		require.Equal(t, transport.CodeUnauthorized, code)
	})
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	names := []string{"vm-1", "pool/1 ä", "a%2Fb", "x?y#z", "[::1]:80"}
	later := time.Now().Add(time.Hour)
	c := &x509.Certificate{NotAfter: later, DNSNames: []string{"vm-2.example.com"}}
	for _, vm := range names {
		u, err := url.Parse(auth.CertificateURI(vm).String()) // as crypto/x509 does
		require.NoError(t, err)
		c.URIs = append(c.URIs, u)
	}
	for _, s := range []string{"urn:miglink:vm:q?r", "urn:miglink:vm:f#g", "urn:miglink:vm:", "urn:miglink:vm:..", "urn:miglink:vm:%00", "urn:miglink:vm:%ff", "urn:other:vm:o", "https://h/urn:miglink:vm:h", "urnx:miglink:vm:u"} {
		u, err := url.Parse(s)
		require.NoError(t, err)
		c.URIs = append(c.URIs, u)
	}
	require.ElementsMatch(t, append(names, "vm-2.example.com"), auth.CertificateNames(c))

	a := auth.Certificate(nil)
	for _, vm := range auth.CertificateNames(c) {
		g, code, cause := knock(t, a, vm, transport.Credentials{Certificate: c})
		require.Empty(t, code, cause)
		require.Equal(t, later, g.Expires)
	}
	for _, vm := range []string{"vm-2", "VM-1", "q", "f", "o", "h", "u", ""} {
		_, code, _ := knock(t, a, vm, transport.Credentials{Certificate: c})
		require.Equal(t, transport.CodeForbidden, code, vm)
	}
	_, code, _ := knock(t, a, "vm-1", transport.Credentials{Token: "x", User: "vm-1"})
	require.Equal(t, transport.CodeUnauthorized, code)
	old := *c
	old.NotAfter = time.Now()
	_, code, _ = knock(t, a, "vm-1", transport.Credentials{Certificate: &old})
	require.Equal(t, transport.CodeCredentialsExpired, code)

	own := auth.Certificate(func(c *x509.Certificate) []string { return []string{c.Subject.CommonName} })
	_, code, _ = knock(t, own, "vm-1", transport.Credentials{Certificate: c})
	require.Equal(t, transport.CodeForbidden, code)
	_, code, _ = knock(t, own, "", transport.Credentials{Certificate: c})
	require.Equal(t, transport.CodeForbidden, code, "no name is nobody's")
}

func TestUser(t *testing.T) {
	t.Parallel()
	for user, want := range map[string]transport.Code{"vm-1": "", "": transport.CodeUnauthorized, "vm-2": transport.CodeForbidden, "VM-1": transport.CodeForbidden} {
		g, code, _ := knock(t, auth.User(), "vm-1", transport.Credentials{User: user, Token: "vm-1"})
		require.Equal(t, want, code, user)
		require.Zero(t, g)
	}
	_, code, _ := knock(t, auth.User(), "", transport.Credentials{})
	require.Equal(t, transport.CodeUnauthorized, code)
}

func TestAny(t *testing.T) {
	t.Parallel()
	says := func(g transport.Grant, err error) transport.Authenticator {
		return transport.AuthenticatorFunc(func(context.Context, string, transport.Credentials) (transport.Grant, error) { return g, err })
	}
	later := transport.Grant{Expires: time.Now().Add(time.Hour)}
	passes, over := says(later, nil), says(transport.Grant{Expires: time.Now()}, nil)
	nothing, forbidden := says(later, errors.New("db-7 is down")), says(later, transport.ErrForbidden)
	unauthorized, unavailable := says(later, transport.ErrUnauthorized), says(later, transport.ErrUnavailable)
	for _, test := range []struct {
		of   []transport.Authenticator
		code transport.Code
	}{
		{nil, transport.CodeUnauthorized},
		{[]transport.Authenticator{passes}, ""},
		{[]transport.Authenticator{nothing, forbidden, over, passes}, ""},
		{[]transport.Authenticator{nothing, unauthorized}, transport.CodeUnauthorized},
		{[]transport.Authenticator{unauthorized, unavailable, nothing}, transport.CodeUnavailable},
		{[]transport.Authenticator{nothing, unavailable, forbidden}, transport.CodeForbidden},
		{[]transport.Authenticator{forbidden, over, nothing}, transport.CodeCredentialsExpired},
		{[]transport.Authenticator{nothing, over, forbidden}, transport.CodeCredentialsExpired},
	} {
		g, code, cause := knock(t, auth.Any(test.of...), "vm-1", transport.Credentials{})
		require.Equal(t, test.code, code, cause)
		if code == "" {
			require.Equal(t, later, g)
		} else if len(test.of) > 2 {
			require.Contains(t, cause, "db-7", "all of it is for the log")
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "token")
	source := auth.File(name)
	_, err := source(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, name)
	for _, bad := range []string{"", " \n", "s3cret\ns3cret", "s3cret\x00", "s3crät", strings.Repeat("s3cret", 9<<10)} {
		require.NoError(t, os.WriteFile(name, []byte(bad), 0o600))
		_, err := source.Get(t.Context())
		require.ErrorContains(t, err, name)
		require.NotContains(t, err.Error(), "s3cr")
	}
	for _, token := range []string{"one", "two", "two2"} {
		require.NoError(t, os.WriteFile(name, []byte(token+"\n"), 0o600))
		got, err := source(t.Context())
		require.NoError(t, err)
		require.Equal(t, token, got)
	}
}

func TestFixed(t *testing.T) {
	t.Parallel()
	token, err := auth.Fixed("t\n")(t.Context())
	require.NoError(t, err)
	require.Equal(t, "t", token)
	for _, bad := range []string{"", "s3cret s3cret"} {
		_, err = auth.Fixed(bad)(t.Context())
		require.Error(t, err)
		require.NotContains(t, err.Error(), "s3cret")
	}
}
