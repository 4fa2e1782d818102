package tlsfile_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/transport/tlsfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// met is what both ends say of a connection.
type met struct {
	client, server       tls.ConnectionState
	clientErr, serverErr error
}

// serial is which certificate of the server the client saw.
func (m met) serial() string { return m.client.PeerCertificates[0].SerialNumber.String() }

// meet has two ends connect, and one byte go each way: an end of TLS 1.3 may be done before the other has
// verified it.
func meet(t *testing.T, client, server *tls.Config) met {
	t.Helper()
	near, far := wire()
	c, s := tls.Client(near, client), tls.Server(far, server)
	var m met
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.serverErr = say(s, true)
		m.server = s.ConnectionState()
		far.Close()
	}()
	m.clientErr = say(c, false)
	m.client = c.ConnectionState()
	near.Close()
	<-done
	return m
}

func say(c *tls.Conn, first bool) error {
	err := c.Handshake()
	b := []byte{1}
	for _, write := range []bool{first, !first} {
		if err != nil {
			return err
		}
		if write {
			_, err = c.Write(b)
		} else {
			_, err = c.Read(b)
		}
	}
	return err
}

// named is the client's configuration as a library completes it that dials this host.
func named(c *tls.Config, host string) *tls.Config {
	c = c.Clone()
	c.ServerName = host
	return c
}

func server(t *testing.T, f tlsfile.ServerFiles) *tls.Config {
	t.Helper()
	c, err := tlsfile.Server(f)
	require.NoError(t, err)
	return c
}

func client(t *testing.T, f tlsfile.ClientFiles) *tls.Config {
	t.Helper()
	c, err := tlsfile.Client(f)
	require.NoError(t, err)
	return c
}

// next lets the files be looked at again. It is for tests under fake time.
func next() { time.Sleep(time.Second) }

// What package tls verifies, this does, too.
func TestClientVerifies(t *testing.T) {
	t.Parallel()
	ca, stranger := certtest.NewAuthority(t), certtest.NewAuthority(t)
	below := ca.Intermediate(t)
	f := certtest.NewFiles(t)
	f.WriteCA(ca)
	for name, test := range map[string]struct {
		server    certtest.Pair
		host      string
		addresses []string
		wrong     any // nil: nothing
	}{
		"right":              {ca.Server(t, "host"), "host", nil, nil},
		"a wildcard":         {ca.Server(t, "*.host"), "a.host", nil, nil},
		"a dot at the end":   {ca.Server(t, "host"), "host.", nil, nil},
		"another name":       {ca.Server(t, "host"), "other", nil, new(x509.HostnameError)},
		"a name of no SAN":   {ca.Issue(t, &x509.Certificate{}), "host", nil, new(x509.HostnameError)},
		"unknown authority":  {stranger.Server(t, "host"), "host", nil, new(x509.UnknownAuthorityError)},
		"intermediate":       {below.Server(t, "host"), "host", nil, nil},
		"no intermediate":    {leaf(below.Server(t, "host")), "host", nil, new(x509.UnknownAuthorityError)},
		"a client's":         {ca.Client(t, "host"), "host", nil, new(x509.CertificateInvalidError)},
		"expired":            {until(t, ca, -time.Minute), "host", nil, new(x509.CertificateInvalidError)},
		"not valid yet":      {until(t, ca, 2*time.Hour), "host", nil, new(x509.CertificateInvalidError)},
		"an address":         {ca.Server(t, "127.0.0.1"), "127.0.0.1", []string{"127.0.0.1"}, nil},
		"of several":         {ca.Server(t, "10.0.0.2"), "10.0.0.2", []string{"10.0.0.1", "10.0.0.2"}, nil},
		"IPv6":               {ca.Server(t, "::1"), "::1", []string{"0:0::1"}, nil},
		"another address":    {ca.Server(t, "127.0.0.1"), "127.0.0.2", []string{"127.0.0.2"}, new(x509.HostnameError)},
		"an unknown address": {ca.Server(t, "127.0.0.1"), "127.0.0.1", nil, new(*tls.CertificateVerificationError)},
		"an address's CA":    {stranger.Server(t, "127.0.0.1"), "127.0.0.1", []string{"127.0.0.1"}, new(x509.UnknownAuthorityError)},
		"a name, not one":    {ca.Server(t, "10.0.0.1"), "host", []string{"10.0.0.1"}, new(x509.HostnameError)},
		"no name":            {ca.Server(t, "host"), "", nil, new(*tls.CertificateVerificationError)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &tls.Config{Certificates: []tls.Certificate{test.server.TLS(t)}}
			m := meet(t, named(client(t, tlsfile.ClientFiles{CA: f.CA, Addresses: test.addresses}), test.host), s)
			if test.wrong == nil {
				require.NoError(t, m.clientErr)
				require.NoError(t, m.serverErr)
				return
			}
			require.ErrorAs(t, m.clientErr, test.wrong)
			require.ErrorAs(t, m.clientErr, new(*tls.CertificateVerificationError))
			require.ErrorContains(t, m.serverErr, "bad certificate", "it is told")
			if name == "no name" || name == "an unknown address" {
				require.ErrorContains(t, m.clientErr, "dialled by an IP address that is not among")
				return // package tls would not begin, or knows the address
			}
			std := meet(t, &tls.Config{RootCAs: ca.Pool(), ServerName: test.host}, s)
			require.ErrorAs(t, std.clientErr, test.wrong, "package tls agrees")
		})
	}
}

// leaf is a pair without its intermediates.
func leaf(p certtest.Pair) certtest.Pair {
	const end = "-----END CERTIFICATE-----\n"
	return certtest.Pair{Cert: p.Cert[:bytes.Index(p.Cert, []byte(end))+len(end)], Key: p.Key}
}

// until is a certificate of an hour that ends after d from now.
func until(t *testing.T, a *certtest.Authority, d time.Duration) certtest.Pair {
	t.Helper()
	end := time.Now().Add(d)
	return a.Issue(t, &x509.Certificate{DNSNames: []string{"host"}, NotBefore: end.Add(-time.Hour), NotAfter: end})
}

// Without authorities of its own a client trusts the system's.
func TestClientOfTheSystem(t *testing.T) {
	t.Parallel()
	c := client(t, tlsfile.ClientFiles{})
	require.False(t, c.InsecureSkipVerify)
	s := &tls.Config{Certificates: []tls.Certificate{certtest.NewAuthority(t).Server(t, "host").TLS(t)}}
	require.ErrorAs(t, meet(t, named(c, "host"), s).clientErr, new(x509.UnknownAuthorityError))
}

// What both ends have is replaced while they live, the authorities included.
func TestReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second := certtest.NewAuthority(t), certtest.NewAuthority(t)
		near, far := certtest.NewFiles(t), certtest.NewFiles(t)
		near.Write(first.Client(t, "vm-1"), first)
		far.Write(first.Server(t, "host"), first)
		c := named(client(t, tlsfile.ClientFiles{CA: near.CA, Cert: near.Cert, Key: near.Key}), "host")
		s := server(t, tlsfile.ServerFiles{Cert: far.Cert, Key: far.Key, ClientCA: far.CA, RequireClient: true})
		before := meet(t, c, s)
		require.NoError(t, errors.Join(before.clientErr, before.serverErr))
		require.Equal(t, "vm-1", before.server.VerifiedChains[0][0].Subject.CommonName)

		far.Write(second.Server(t, "host"), second)
		again := meet(t, c, s)
		require.NoError(t, errors.Join(again.clientErr, again.serverErr), "it is not looked at more than once a second")
		require.Equal(t, before.serial(), again.serial())
		next()
		require.ErrorAs(t, meet(t, c, s).clientErr, new(x509.UnknownAuthorityError))

		near.WriteCA(second)
		next()
		m := meet(t, c, s)
		require.ErrorAs(t, m.serverErr, new(x509.UnknownAuthorityError), "the client's certificate is of the old one")
		near.WritePair(second.Client(t, "vm-1"))
		next()
		after := meet(t, c, s)
		require.NoError(t, errors.Join(after.clientErr, after.serverErr))
		require.NotEqual(t, before.serial(), after.serial())
	})
}

// What is of no use changes nothing, and is said once.
func TestBrokenWhileReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := certtest.NewAuthority(t)
		f := certtest.NewFiles(t)
		f.Write(ca.Server(t, "host"), ca)
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		s := server(t, tlsfile.ServerFiles{Cert: f.Cert, Key: f.Key, Log: logger})
		c := named(client(t, tlsfile.ClientFiles{CA: f.CA, Log: logger}), "host")
		serial := meet(t, c, s).serial()
		replacement := ca.Server(t, "host")
		for _, test := range []struct{ what, file, says string }{
			{"another's certificate", f.Cert, "private key does not match"},
			{"no PEM", f.Cert, "failed to find any PEM"},
			{"no authority", f.CA, "no PEM certificate"},
			{"half of one", f.CA, "cut off or damaged"},
			{"no file", f.CA, "no such file"},
			{"no file", f.CA, "no such file"}, // once more, after it was there
		} {
			before, err := os.ReadFile(test.file)
			require.NoError(t, err)
			switch test.what {
			case "no file":
				require.NoError(t, os.Remove(test.file))
			case "another's certificate":
				require.NoError(t, os.WriteFile(test.file, replacement.Cert, 0o600))
			case "half of one":
				require.NoError(t, os.WriteFile(test.file, append(before[:len(before):len(before)], before[:len(before)/2]...), 0o600))
			default:
				require.NoError(t, os.WriteFile(test.file, []byte("junk"), 0o600))
			}
			log.Reset()
			for range 3 {
				next()
				m := meet(t, c, s)
				require.NoError(t, errors.Join(m.clientErr, m.serverErr), test.what)
				require.Equal(t, serial, m.serial(), test.what)
			}
			require.Equal(t, 1, strings.Count(log.String(), "\n"), "%s: %s", test.what, log.String())
			require.Contains(t, log.String(), test.says, test.what)
			require.NoError(t, os.WriteFile(test.file, before, 0o600))
			next()
			require.NoError(t, meet(t, c, s).clientErr)
		}
		log.Reset()
		f.WritePair(replacement)
		next()
		require.NotEqual(t, serial, meet(t, c, s).serial())
		require.Contains(t, log.String(), "files have changed")
		require.NotContains(t, log.String(), "PRIVATE")
	})
}

// A session that resumes brings nobody back whose authority was removed, at either end.
func TestResumption(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca, other := certtest.NewAuthority(t), certtest.NewAuthority(t)
		near, far := certtest.NewFiles(t), certtest.NewFiles(t)
		near.Write(ca.Client(t, "vm-1"), ca)
		far.Write(ca.Server(t, "host"), ca)
		s := server(t, tlsfile.ServerFiles{Cert: far.Cert, Key: far.Key, ClientCA: far.CA})
		asked := 0
		s.VerifyConnection = func(tls.ConnectionState) error {
			asked++
			return nil
		}
		c := named(client(t, tlsfile.ClientFiles{CA: near.CA, Cert: near.Cert, Key: near.Key}), "host")
		c.ClientSessionCache = tls.NewLRUClientSessionCache(10)
		for i := range 3 {
			m := meet(t, c, s)
			require.NoError(t, errors.Join(m.clientErr, m.serverErr))
			require.Equal(t, i > 0, m.client.DidResume)
			require.Equal(t, "vm-1", m.server.VerifiedChains[0][0].Subject.CommonName)
			require.Equal(t, i+1, asked, "the server's own question is asked, too")
		}
		near.WriteCA(other)
		next()
		m := meet(t, c, s)
		require.True(t, m.client.DidResume)
		require.ErrorAs(t, m.clientErr, new(x509.UnknownAuthorityError))
		near.WriteCA(ca)
		next()
		require.False(t, meet(t, c, s).client.DidResume, "the session is forgotten then")
		require.True(t, meet(t, c, s).client.DidResume)

		far.WriteCA(other)
		next()
		m = meet(t, c, s)
		require.False(t, m.server.DidResume)
		require.ErrorAs(t, m.serverErr, new(x509.UnknownAuthorityError))
	})
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ca, stranger := certtest.NewAuthority(t), certtest.NewAuthority(t)
	far := certtest.NewFiles(t)
	far.Write(ca.Server(t, "host"), ca)
	for _, test := range []struct {
		name    string
		require bool
		client  *certtest.Pair
		wrong   string
	}{
		{"none, optional", false, nil, ""},
		{"none, required", true, nil, "didn't provide a certificate"},
		{"one", true, new(ca.Client(t, "vm-1")), ""},
		{"of an intermediate", true, new(ca.Intermediate(t).Client(t, "vm-1")), ""},
		{"a stranger's, optional", false, new(stranger.Client(t, "vm-1")), "unknown authority"},
		{"a stranger's", true, new(stranger.Client(t, "vm-1")), "unknown authority"},
		{"a server's", true, new(ca.Server(t, "vm-1")), "incompatible key usage"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			near := certtest.NewFiles(t)
			near.WriteCA(ca)
			f := tlsfile.ClientFiles{CA: near.CA}
			if test.client != nil {
				near.WritePair(*test.client)
				f.Cert, f.Key = near.Cert, near.Key
			}
			m := meet(t, named(client(t, f), "host"), server(t, tlsfile.ServerFiles{
				Cert: far.Cert, Key: far.Key, ClientCA: far.CA, RequireClient: test.require,
			}))
			if test.wrong != "" {
				require.ErrorContains(t, m.serverErr, test.wrong)
				require.Error(t, m.clientErr)
				return
			}
			require.NoError(t, errors.Join(m.clientErr, m.serverErr))
			require.Equal(t, test.client != nil, len(m.server.VerifiedChains) > 0, "what an Authenticator is shown")
		})
	}
}

// The least is TLS 1.3, or what is set; a server that asks for certificates keeps to what it is told, too.
func TestVersions(t *testing.T) {
	t.Parallel()
	ca := certtest.NewAuthority(t)
	f := certtest.NewFiles(t)
	f.Write(ca.Server(t, "host"), ca)
	for _, clientCA := range []string{"", f.CA} {
		s := server(t, tlsfile.ServerFiles{Cert: f.Cert, Key: f.Key, ClientCA: clientCA})
		c := named(client(t, tlsfile.ClientFiles{CA: f.CA}), "host")
		old := c.Clone()
		old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		require.EqualValues(t, tls.VersionTLS13, meet(t, c, s).client.Version)
		require.ErrorContains(t, meet(t, old, s).serverErr, "unsupported version")
		require.ErrorContains(t, meet(t, c, certtest.Old(t, ca)).clientErr, "protocol version not supported")
		s.MinVersion = tls.VersionTLS12
		m := meet(t, old, s)
		require.NoError(t, errors.Join(m.clientErr, m.serverErr))
		require.EqualValues(t, tls.VersionTLS12, m.server.Version)
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	ca := certtest.NewAuthority(t)
	f, other := certtest.NewFiles(t), certtest.NewFiles(t)
	f.Write(ca.Server(t, "host"), ca)
	other.WritePair(ca.Server(t, "host"))
	missing, junk := filepath.Join(t.TempDir(), "missing"), filepath.Join(t.TempDir(), "junk")
	require.NoError(t, os.WriteFile(junk, []byte("junk"), 0o600))
	for says, files := range map[string]tlsfile.ServerFiles{
		"needs a certificate":        {Key: f.Key},
		"of no authority":            {Cert: f.Cert, Key: f.Key, RequireClient: true},
		missing:                      {Cert: f.Cert, Key: missing},
		"private key does not match": {Cert: f.Cert, Key: other.Key},
		junk:                         {Cert: f.Cert, Key: f.Key, ClientCA: junk},
	} {
		_, err := tlsfile.Server(files)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, "tlsfile: ")
	}
	for says, files := range map[string]tlsfile.ClientFiles{
		"go together":                    {Cert: f.Cert},
		missing:                          {CA: missing},
		"there is no PEM certificate":    {CA: f.Key},
		"private key does not match":     {Cert: f.Cert, Key: other.Key},
		"\"host\" is no IP address":      {CA: f.CA, Addresses: []string{"host"}},
		"find any PEM data in key input": {Cert: f.Cert, Key: junk},
	} {
		_, err := tlsfile.Client(files)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, "tlsfile: ")
	}
}
