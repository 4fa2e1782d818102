package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/auth"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/nats"
	"github.com/miglink/miglink/transport/ws"
)

// newKeys makes a directory of keys as one does it by hand.
func newKeys(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	o := miglink(t, "token", "--keys", dir, "--new-key")
	require.Zero(t, o.status, o.errors)
	require.Empty(t, o.out, "there is no token")
	require.Contains(t, o.errors, dir)
	return dir
}

func tokenFile(t *testing.T, args ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(name, []byte(ok(t, append([]string{"token"}, args...)...)), 0o600))
	return name
}

func natsServer(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(s.Shutdown)
	require.True(t, s.ReadyForConnections(readyTime))
	return s.ClientURL()
}

// A token opens its own VM's link, over every transport, and nobody else's; without one there is none.
func TestTokens(t *testing.T) {
	t.Parallel()
	keys, broker := newKeys(t), natsServer(t)
	ctl, controllerURL := startController(t, "--keys", keys, "--nats", broker)
	ctl.out.await(t, "operators are not asked for credentials")
	require.NotContains(t, ctl.out.String(), "nobody")
	relay := tokenFile(t, "--keys", keys, "--vms", "pool-1/**", "--vms", "vm,relay")
	operator := tokenFile(t, "--keys", keys, "--operator", "ann", "--grant", "send:*@vm,relay")
	for _, name := range []string{"ws", "sse", "longpoll", "grpc", "nats"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := func(vm string, args ...string) *process {
				return start(t, append([]string{"agent", "--vm", vm, "--controller", controllerURL, "--transport", name, "--broker", broker}, args...)...)
			}
			own := "vm-" + name
			a := run(own, "--token-file", tokenFile(t, "--keys", keys, "--vm", own))
			out := ok(t, "send", own, "drain", "--controller", controllerURL, "--wait", "60s")
			require.Contains(t, out, "succeeded")
			require.Zero(t, a.interrupt(), a.log)

			many := "pool-1/" + name
			a = run(many, "--token-file", relay)
			ok(t, "send", many, "drain", "--controller", controllerURL, "--wait", "60s")
			require.Zero(t, a.interrupt(), a.log)

			run("another-"+name, "--token-file", relay).log.await(t, "another VM's")
			run("none-"+name).log.await(t, "unauthorized")
			run("operator-"+name, "--token-file", operator).log.await(t, "unauthorized")
			for _, vm := range []string{"another-", "none-", "operator-"} {
				ctl.log.await(t, vm+name)
				o := miglink(t, "status", vm+name, "--controller", controllerURL)
				require.NotContains(t, o.out, "online")
			}
		})
	}
	t.Cleanup(func() { // once all of them are through
		for _, name := range []string{relay, operator} {
			token, err := os.ReadFile(name)
			require.NoError(t, err)
			require.NotContains(t, ctl.log.String(), strings.TrimSpace(string(token)))
		}
	})
}

// The token may come in the environment, from where the programs that the agent runs do not get it.
func TestTokenFromTheEnvironment(t *testing.T) {
	keys := newKeys(t)
	_, controllerURL := startController(t, "--keys", keys)
	token := strings.TrimSpace(ok(t, "token", "--keys", keys, "--vm", "vm-1"))
	t.Setenv("MIGLINK_TOKEN", token)
	agent := start(t, "agent", "--vm", "vm-1", "--controller", controllerURL, "--exec", "drain="+script(t, `echo "token: <$MIGLINK_TOKEN>"`))
	require.NoError(t, os.Unsetenv("MIGLINK_TOKEN"))
	ok(t, "send", "vm-1", "drain", "--id", "c1", "--controller", controllerURL, "--wait", "60s")
	require.Contains(t, ok(t, "status", "c1", "--controller", controllerURL), "token: <>")
	require.NotContains(t, agent.log.String()+agent.out.String(), token)

	t.Setenv("MIGLINK_TOKEN", "two words")
	o := miglink(t, "agent", "--vm", "vm-1")
	require.Equal(t, 2, o.status)
	require.NotContains(t, o.errors, "two words")
}

// A token that is replaced in its file is shown when the old one has expired; a key that is new while the controller
// runs counts.
func TestTokenRotates(t *testing.T) {
	t.Parallel()
	keys := newKeys(t)
	ctl, controllerURL := startController(t, "--keys", keys)
	name := tokenFile(t, "--keys", keys, "--vm", "vm-1", "--ttl", "2s")
	agent := start(t, "agent", "--vm", "vm-1", "--transport", "ws", "--controller", controllerURL, "--token-file", name)
	agent.log.await(t, "credentials_expired")
	o := miglink(t, "token", "--keys", keys, "--new-key", "--vm", "vm-1")
	require.Zero(t, o.status, o.errors)
	require.Equal(t, 1, strings.Count(o.out, "\n"), "the token, and nothing else")
	require.NoError(t, os.WriteFile(name+".new", []byte(o.out), 0o600))
	require.NoError(t, os.Rename(name+".new", name))
	ok(t, "send", "vm-1", "drain", "--controller", controllerURL, "--wait", "60s")
	require.NotContains(t, ctl.log.String(), strings.TrimSpace(o.out))
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a := &authority{t: t, key: key, cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	a.cert = a.sign(a.cert, key)
	return a
}

func (a *authority) sign(c *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	require.NoError(a.t, err)
	c, err = x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return c
}

// issue makes a certificate of one use, and its key.
func (a *authority) issue(use x509.ExtKeyUsage, ip net.IP, names ...string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{use}}
	if ip != nil {
		c.IPAddresses = []net.IP{ip}
	}
	for _, name := range names {
		c.URIs = append(c.URIs, auth.CertificateURI(name))
	}
	return tls.Certificate{Certificate: [][]byte{a.sign(c, key).Raw}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func writePEM(t *testing.T, kind string, der []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pem")
	require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return name
}

// A VM passes with the certificate of its name, or with a token; and who has a certificate of nobody we know does not
// get as far as that.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	keys, ours, theirs := newKeys(t), newAuthority(t), newAuthority(t)
	own := ours.issue(x509.ExtKeyUsageServerAuth, net.IPv4(127, 0, 0, 1))
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	require.NoError(t, err)
	ctl := start(t, "controller", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--drain", "0s", "--keys", keys,
		"--tls-cert", writePEM(t, "CERTIFICATE", own.Certificate[0]), "--tls-key", writePEM(t, "PRIVATE KEY", key),
		"--client-ca", writePEM(t, "CERTIFICATE", ours.cert.Raw))
	_, after, found := strings.Cut(ctl.first, "https://")
	require.True(t, found, "%s%s", ctl.first, ctl.log)
	address, _, _ := strings.Cut(after, ",")
	controllerURL := (&url.URL{Scheme: "https", Host: address}).String()

	dial := func(vm string, certificate *tls.Certificate, token string) error {
		t.Helper()
		o := ws.Options{TLS: &tls.Config{RootCAs: ours.pool()}}
		if certificate != nil {
			// Also one of an authority that the server does not ask for.
			o.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
		}
		if token != "" {
			o.Token = auth.Fixed(token)
		}
		to, err := ws.New(controllerURL, o)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		link, err := to.Dial(ctx, transport.Hello{VM: vm})
		if err == nil {
			require.NoError(t, link.Close())
		}
		return err
	}
	vm1 := ours.issue(x509.ExtKeyUsageClientAuth, nil, "vm-1")
	require.NoError(t, dial("vm-1", &vm1, ""))
	require.ErrorIs(t, dial("vm-2", &vm1, ""), transport.ErrForbidden)
	require.ErrorIs(t, dial("vm-1", nil, ""), transport.ErrUnauthorized)
	token := strings.TrimSpace(ok(t, "token", "--keys", keys, "--vm", "vm-2"))
	require.NoError(t, dial("vm-2", nil, token))
	require.NoError(t, dial("vm-2", &vm1, token), "the token's")
	stranger := theirs.issue(x509.ExtKeyUsageClientAuth, nil, "vm-1")
	require.Error(t, dial("vm-1", &stranger, ""))
	asServer := ours.issue(x509.ExtKeyUsageServerAuth, nil, "vm-1")
	require.Error(t, dial("vm-1", &asServer, ""))
}

// A broker that vouches for nobody does not let agents pass as users, not even of the right name.
func TestBrokerUsersOverAnotherBroker(t *testing.T) {
	t.Parallel()
	amqp := outside(t, "MIGLINK_TEST_AMQP", "127.0.0.1:5672", "amqp://guest:guest@127.0.0.1:5672")
	user, err := url.Parse(amqp)
	require.NoError(t, err)
	broker, prefix := natsServer(t), strings.ToLower(rand.Text())
	_, controllerURL := startController(t, "--broker-users", "--amqp", amqp, "--nats", broker, "--prefix", prefix)
	vm := user.User.Username()
	start(t, "agent", "--vm", vm, "--transport", "rabbitmq", "--broker", amqp, "--prefix", prefix)
	ok(t, "send", vm, "drain", "--controller", controllerURL, "--wait", "60s")
	start(t, "agent", "--vm", "vm-1", "--transport", "rabbitmq", "--broker", amqp, "--prefix", prefix).log.await(t, "another VM's")

	to, err := nats.New(broker, nats.Options{Prefix: prefix})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = to.Dial(ctx, transport.Hello{VM: vm})
	require.ErrorIs(t, err, transport.ErrUnauthorized)
}

// A line at start says who is not asked.
func TestNobodyIsAsked(t *testing.T) {
	t.Parallel()
	ctl, _ := startController(t)
	ctl.out.await(t, "nobody is asked for credentials")
	require.Equal(t, 2, bytes.Count([]byte(ctl.out.String()), []byte("\n")))
}
