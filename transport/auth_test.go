package transport_test

import (
	"context"
	"crypto/x509"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/transport"
)

// Who gives no credentials is told so, and nobody is told why those that were given are refused.
func TestWhatRefusalsTell(t *testing.T) {
	t.Parallel()
	why := errors.New("not in the table")
	nobody := transport.AuthenticatorFunc(func(context.Context, string, transport.Credentials) (transport.Grant, error) {
		return transport.Grant{}, why
	})
	const how = `send the header "Authorization: Bearer TOKEN", a client certificate, or over a broker a token in the hello (miglink agent --token-file, --cert)`
	for _, test := range []struct {
		given transport.Credentials
		want  string
	}{
		{transport.Credentials{}, "no credentials were given, and this VM's link takes some: " + how},
		{transport.Credentials{Remote: "192.0.2.1:1"}, "no credentials were given, and this VM's link takes some: " + how},
		{transport.Credentials{Token: "t"}, "these credentials do not open this VM's link; the controller's log says why"},
		{transport.Credentials{User: "u"}, "these credentials do not open this VM's link; the controller's log says why"},
		{transport.Credentials{Certificate: &x509.Certificate{}}, "these credentials do not open this VM's link; the controller's log says why"},
	} {
		_, told, cause := transport.Authenticate(t.Context(), nobody, "vm-1", test.given)
		require.Equal(t, transport.CodeUnauthorized, told.Code)
		require.Equal(t, test.want, told.Message)
		require.Equal(t, why, cause)
	}
}
