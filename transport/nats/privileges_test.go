package nats_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/nats"
)

// documented is a server with the configuration of the package's documentation, as it is written.
func documented(t *testing.T) *server.Server {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	_, after, found := strings.Cut(string(doc), "//\tauthorization {\n")
	require.True(t, found)
	config, _, found := strings.Cut(after, "//\t}\n//\n")
	require.True(t, found)
	file := filepath.Join(t.TempDir(), "nats.conf")
	text := "authorization {\n" + strings.ReplaceAll(config, "//\t", "") + "}\n"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	o, err := server.ProcessConfigFile(file)
	require.NoError(t, err, text)
	require.Len(t, o.Users, 2)
	return broker(t, *o)
}

// What the documentation gives a VM and a controller is enough for a link.
func TestPermissions(t *testing.T) {
	t.Parallel()
	s := documented(t)
	as := func(user string) string { return "nats://" + user + ":PASSWORD@" + s.Addr().String() }
	c := newController(t)
	listen(t, as("controller"), c, nats.ListenOptions{})
	l, err := dial(t, as("vm-1"), nats.Options{})
	require.NoError(t, err)
	r := send(t, c, command.UpdateConfig{ConfigKey: "k", ConfigValue: strings.Repeat("x", 200_000)})
	_, err = l.Receive(t.Context())
	require.NoError(t, err)
	require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
	require.NoError(t, l.Close())
	tr, err := nats.New(as("vm-1"), nats.Options{})
	require.NoError(t, err)
	_, err = tr.Dial(t.Context(), transport.Hello{VM: "vm-2"})
	require.ErrorContains(t, err, "permissions violation")
	_, err = nats.Listen(t.Context(), as("vm-1"), c, nats.ListenOptions{})
	require.ErrorContains(t, err, "permissions violation")
}

// What it gives a VM opens nothing of another's, nor shows who else is there.
func TestPrivileges(t *testing.T) {
	t.Parallel()
	s := documented(t)
	for user, may := range map[string]struct{ notSubscribe, notPublish []string }{
		"vm-1": {
			[]string{
				">", "miglink.>", "*.*.vm-1.>", "miglink.*.vm-1.>", "miglink.down.>", "miglink.down.*.*", "miglink.down.vm-2.s", "miglink.down.vm-2.>",
				"miglink.down.vm-10.s", "miglink.up.vm-1.s", "miglink.up.vm-2.s", "miglink.up.>", "miglink.hello.vm-1", "miglink.hello.vm-2",
				"miglink.hello.*", "miglink.hello.* miglink", "_INBOX.>", "$SYS.>", "$JS.>",
			},
			[]string{
				"miglink.hello.vm-2", "miglink.hello.vm-10", "miglink.up.vm-2.s", "miglink.down.vm-1.s", "miglink.down.vm-2.s", "other",
				"$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.ACCOUNT.$G.SUBSZ", "$JS.API.INFO", "_INBOX.x",
			},
		},
		"controller": {
			[]string{">", "miglink.>", "miglink.hello.*", "miglink.hello.* other", "miglink.down.vm-1.s", "_INBOX.>", "$SYS.>"},
			[]string{"miglink.hello.vm-1", "miglink.up.vm-1.s", "other", "$SYS.REQ.SERVER.PING", "$JS.API.INFO"},
		},
	} {
		refusals := make(chan error, 1)
		conn, err := natsgo.Connect("nats://"+user+":PASSWORD@"+s.Addr().String(), natsgo.NoReconnect(),
			natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) { refusals <- err }))
		require.NoError(t, err)
		refused := func(what, subject string) {
			t.Helper()
			require.NoError(t, conn.Flush())
			select {
			case err := <-refusals:
				require.ErrorIs(t, err, natsgo.ErrPermissionViolation)
				require.Contains(t, strings.ToLower(err.Error()), strings.ToLower(strings.Fields(subject)[0]))
			case <-time.After(20 * time.Second):
				t.Fatalf("%s may %s %s", user, what, subject)
			}
		}
		for _, subject := range may.notSubscribe {
			of, queue, _ := strings.Cut(subject, " ")
			var err error
			if queue == "" {
				_, err = conn.SubscribeSync(of)
			} else {
				_, err = conn.QueueSubscribeSync(of, queue)
			}
			require.NoError(t, err)
			refused("subscribe to", subject)
		}
		for _, subject := range may.notPublish {
			require.NoError(t, conn.PublishRequest(subject, "miglink.down.vm-1.s", []byte("x")))
			refused("publish to", subject)
		}
		conn.Close()
	}
}

// A hello asks for an answer where its VM listens; that another gets it instead is not up to who says it.
func TestHelloForAnswersElsewhere(t *testing.T) {
	t.Parallel()
	s := documented(t)
	c := brokertest.Controller(t)
	listen(t, "nats://controller:PASSWORD@"+s.Addr().String(), c, nats.ListenOptions{})
	conn, err := natsgo.Connect("nats://vm-1:PASSWORD@" + s.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	own, err := conn.SubscribeSync("miglink.down.vm-1.>")
	require.NoError(t, err)
	const hello = `{"n":1,"hello":{"version":1,"vm_id":"vm-1"}}`
	for _, reply := range []string{"miglink.down.vm-2.s", "miglink.hello.vm-2", "miglink.up.vm-2.s", "miglink.down.vm-1.>", "miglink.down.vm-1.s"} {
		require.NoError(t, conn.PublishRequest("miglink.hello.vm-1", reply, []byte(hello)))
	}
	m, err := own.NextMsg(20 * time.Second) // hellos are taken one after the other
	require.NoError(t, err)
	require.Equal(t, "miglink.down.vm-1.s", m.Subject)
	_, known := c.Presence("vm-2")
	require.False(t, known)
}
