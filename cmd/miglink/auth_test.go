package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/auth"
	"github.com/miglink/miglink/internal/certtest"
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

// asOperator is the flags of an operator who may do everything.
func asOperator(t *testing.T, keys, controllerURL string) flags {
	t.Helper()
	token := tokenFile(t, "--keys", keys, "--operator", "ann", "--grant", "read", "--grant", "send")
	return flags{"--controller", controllerURL, "--token-file", token}
}

// flags come after a command and its arguments.
type flags []string

func (f flags) after(args ...string) []string { return append(args, f...) }

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
	require.NotContains(t, ctl.out.String(), "asked for credentials", "everybody is")
	ann := asOperator(t, keys, controllerURL)
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
			out := ok(t, ann.after("send", own, "drain", "--wait", "60s")...)
			require.Contains(t, out, "succeeded")
			require.Zero(t, a.interrupt(), a.log)

			many := "pool-1/" + name
			a = run(many, "--token-file", relay)
			ok(t, ann.after("send", many, "drain", "--wait", "60s")...)
			require.Zero(t, a.interrupt(), a.log)

			run("another-"+name, "--token-file", relay).log.await(t, "another VM's")
			run("none-"+name).log.await(t, "unauthorized")
			run("operator-"+name, "--token-file", operator).log.await(t, "unauthorized")
			for _, vm := range []string{"another-", "none-", "operator-"} {
				ctl.log.await(t, vm+name)
				o := miglink(t, ann.after("status", vm+name)...)
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
	ann := asOperator(t, keys, controllerURL)
	agent := start(t, "agent", "--vm", "vm-1", "--controller", controllerURL, "--exec", "drain="+script(t, `echo "token: <$MIGLINK_TOKEN>"`))
	require.NoError(t, os.Unsetenv("MIGLINK_TOKEN"))
	ok(t, ann.after("send", "vm-1", "drain", "--id", "c1", "--wait", "60s")...)
	require.Contains(t, ok(t, ann.after("status", "c1")...), "token: <>")
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
	ok(t, asOperator(t, keys, controllerURL).after("send", "vm-1", "drain", "--wait", "60s")...)
	require.NotContains(t, ctl.log.String(), strings.TrimSpace(o.out))
}

// A VM passes with the certificate of its name, or with a token; and who has a certificate of nobody we know does not
// get as far as that.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	keys, ours, theirs := newKeys(t), certtest.NewAuthority(t), certtest.NewAuthority(t)
	files := certtest.NewFiles(t)
	files.Write(ours.Server(t, "127.0.0.1"), ours)
	ctl := start(t, "controller", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--drain", "0s", "--keys", keys,
		"--tls-cert", files.Cert, "--tls-key", files.Key, "--client-ca", files.CA)
	_, after, found := strings.Cut(ctl.first, "https://")
	require.True(t, found, "%s%s", ctl.first, ctl.log)
	address, _, _ := strings.Cut(after, ",")
	controllerURL := (&url.URL{Scheme: "https", Host: address}).String()

	dial := func(vm string, certificate *tls.Certificate, token string) error {
		t.Helper()
		o := ws.Options{TLS: &tls.Config{RootCAs: ours.Pool()}}
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
	issue := func(by *certtest.Authority, use x509.ExtKeyUsage) tls.Certificate {
		return by.Issue(t, &x509.Certificate{URIs: []*url.URL{auth.CertificateURI("vm-1")}, ExtKeyUsage: []x509.ExtKeyUsage{use}}).TLS(t)
	}
	vm1 := issue(ours, x509.ExtKeyUsageClientAuth)
	require.NoError(t, dial("vm-1", &vm1, ""))
	require.ErrorIs(t, dial("vm-2", &vm1, ""), transport.ErrForbidden)
	require.ErrorIs(t, dial("vm-1", nil, ""), transport.ErrUnauthorized)
	token := strings.TrimSpace(ok(t, "token", "--keys", keys, "--vm", "vm-2"))
	require.NoError(t, dial("vm-2", nil, token))
	require.NoError(t, dial("vm-2", &vm1, token), "the token's")
	stranger := issue(theirs, x509.ExtKeyUsageClientAuth)
	require.Error(t, dial("vm-1", &stranger, ""))
	asServer := issue(ours, x509.ExtKeyUsageServerAuth)
	require.Error(t, dial("vm-1", &asServer, ""))
}

// A broker that vouches for nobody does not let agents pass as users, not even of the right name.
func TestBrokerUsersOverAnotherBroker(t *testing.T) {
	t.Parallel()
	amqp := outside(t, "MIGLINK_TEST_AMQP", "127.0.0.1:5672", "amqp://guest:guest@127.0.0.1:5672")
	user, err := url.Parse(amqp)
	require.NoError(t, err)
	keys, broker, prefix := newKeys(t), natsServer(t), strings.ToLower(rand.Text())
	_, controllerURL := startController(t, "--keys", keys, "--broker-users", "--amqp", amqp, "--nats", broker, "--prefix", prefix)
	vm := user.User.Username()
	start(t, "agent", "--vm", vm, "--transport", "rabbitmq", "--broker", amqp, "--prefix", prefix)
	ok(t, asOperator(t, keys, controllerURL).after("send", vm, "drain", "--wait", "60s")...)
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

// With keys operators are asked as well: each may do what its token grants, and all of it is on record.
func TestOperators(t *testing.T) {
	t.Parallel()
	keys, record := newKeys(t), filepath.Join(t.TempDir(), "audit.log")
	_, controllerURL := startController(t, "--keys", keys, "--audit", record)
	as := func(grants ...string) flags {
		args := []string{"--keys", keys, "--operator", "ann"}
		for _, g := range grants {
			args = append(args, "--grant", g)
		}
		return flags{"--controller", controllerURL, "--token-file", tokenFile(t, args...)}
	}
	drainer := as("send:drain@pool-*")
	id := uuid.NewString() // who may not read everything chooses no other
	ok(t, drainer.after("send", "pool-1", "drain", "--id", id)...)
	for name, c := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"another type":    {drainer.after("send", "pool-1", "shutdown"), 6, "send:shutdown@pool-1"},
		"another VM":      {drainer.after("send", "vm-1", "drain"), 6, "send:drain@vm-1"},
		"reading":         {drainer.after("fleet"), 6, "read"},
		"cancelling":      {as("read").after("cancel", id), 6, "send:drain@pool-1"},
		"a name as ID":    {drainer.after("send", "pool-1", "drain", "--id", "c-1"), 6, "UUID"},
		"a VM's token":    {[]string{"fleet", "--controller", controllerURL, "--token-file", tokenFile(t, "--keys", keys, "--vm", "pool-1")}, 5, "unauthorized"},
		"no token":        {[]string{"fleet", "--controller", controllerURL}, 5, "--token-file"},
		"grant of no use": {[]string{"token", "--keys", keys, "--operator", "ann", "--grant", "rule"}, 2, "rule"},
	} {
		o := miglink(t, c.args...)
		require.Equal(t, c.status, o.status, "%s: %s", name, o.errors)
		require.Contains(t, o.errors, c.want, name)
	}
	require.Contains(t, ok(t, as("read@pool-1").after("status", "pool-1")...), "drain")
	b, err := os.ReadFile(record)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(b), `"decision":"allowed"`)-strings.Count(string(b), `"action":"list"`)-strings.Count(string(b), `"action":"vm"`), string(b))
	require.Contains(t, string(b), `"decision":"denied"`)
	require.NotContains(t, string(b), "eyJ", "no token")
}
