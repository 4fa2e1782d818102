package rabbitmq_test

import (
	"crypto/tls"
	neturl "net/url"
	"testing"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/rabbitmq"
)

// secured is the URL of a broker as it is at another address that speaks TLS.
func secured(t *testing.T, broker, addr string) string {
	t.Helper()
	u, err := neturl.Parse(broker)
	require.NoError(t, err)
	u.Scheme, u.Host = "amqps", addr
	return u.String()
}

// TLS 1.2 is spoken by who has said so, here or by the library's own options.
func TestOldTLS(t *testing.T) {
	t.Parallel()
	broker := server(t)
	at, err := amqp.ParseURI(broker)
	require.NoError(t, err)
	ca := certtest.NewAuthority(t)
	f := certtest.NewFiles(t)
	f.WriteCA(ca)
	addr, versions := certtest.Front(t, certtest.Old(t, ca), brokerAddr(at))
	url := secured(t, broker, addr)
	prefix := "miglink-" + uuid.NewString()
	t.Cleanup(func() { deleteExchange(t, broker, prefix) })
	c := brokertest.Controller(t)
	ours, old := &tls.Config{RootCAs: ca.Pool()}, &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}
	library := func(o *amqp.Config) { o.TLSClientConfig = old.Clone() }

	_, err = rabbitmq.Listen(t.Context(), url, c, rabbitmq.ListenOptions{Prefix: prefix, TLS: ours})
	require.ErrorContains(t, err, "protocol version")
	for query, o := range map[string]rabbitmq.Options{"": {TLS: ours}, "?heartbeat=10": {}, "?cacertfile=" + f.CA: {}} {
		tr, err := rabbitmq.New(url+query, o)
		require.NoError(t, err)
		_, err = brokertest.Dial(t, tr)
		require.ErrorContains(t, err, "protocol version")
	}
	for _, o := range []rabbitmq.ListenOptions{{TLS: old}, {AMQP: library}} {
		o.Prefix = prefix
		l, err := rabbitmq.Listen(t.Context(), url, c, o)
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.EqualValues(t, tls.VersionTLS12, <-versions)
	}
	listen(t, url, c, rabbitmq.ListenOptions{Prefix: prefix, TLS: old})
	for _, o := range []rabbitmq.Options{{TLS: old}, {AMQP: library}} {
		o.Prefix = prefix
		tr, err := rabbitmq.New(url, o)
		require.NoError(t, err)
		l, err := brokertest.Dial(t, tr)
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
	tr, err := rabbitmq.Open(transport.Config{Broker: url, Prefix: prefix, TLS: old})
	require.NoError(t, err)
	l, err := brokertest.Dial(t, tr)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// The files that a URL's query names are used, as the library would, and read again.
func TestTLSOfURL(t *testing.T) {
	t.Parallel()
	broker := server(t)
	at, err := amqp.ParseURI(broker)
	require.NoError(t, err)
	ca := certtest.NewAuthority(t)
	f := certtest.NewFiles(t)
	f.Write(ca.Client(t, "vm-1"), ca)
	addr, _ := certtest.Front(t, &tls.Config{
		Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1", "broker").TLS(t)},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
	}, brokerAddr(at))
	prefix := "miglink-" + uuid.NewString()
	t.Cleanup(func() { deleteExchange(t, broker, prefix) })
	url := secured(t, broker, addr) + "?certfile=" + f.Cert + "&keyfile=" + f.Key
	c := brokertest.Controller(t)
	listen(t, url+"&cacertfile="+f.CA, c, rabbitmq.ListenOptions{Prefix: prefix})
	for query, wrong := range map[string]string{
		"&cacertfile=" + f.CA:                               "",
		"&server_name_indication=broker&cacertfile=" + f.CA: "",
		"&server_name_indication=other&cacertfile=" + f.CA:  "not other",
		"": "unknown authority",
	} {
		tr, err := rabbitmq.New(url+query, rabbitmq.Options{Prefix: prefix})
		require.NoError(t, err)
		l, err := brokertest.Dial(t, tr)
		if wrong != "" {
			require.ErrorContains(t, err, wrong, query)
			continue
		}
		require.NoError(t, err, query)
		require.NoError(t, l.Close())
	}
	_, err = rabbitmq.New(url+"&cacertfile=/does/not/exist", rabbitmq.Options{})
	require.ErrorContains(t, err, "/does/not/exist")
	require.NotContains(t, err.Error(), "guest")
}
