package rabbitmq_test

import (
	"os"
	"sync/atomic"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport/rabbitmq"
)

// Credentials that are refused for a while, or changed, cost that while; and so does a broker that has lost its data.
func testRecover(t *testing.T, n *node) {
	n.Ctl("add_user", "u", "first")
	n.Ctl("set_permissions", "u", ".*", ".*", ".*")
	var password atomic.Value
	password.Store("first")
	var tries atomic.Int64
	as := func(c *amqp.Config) {
		c.SASL = []amqp.Authentication{&amqp.PlainAuth{Username: "u", Password: password.Load().(string)}}
	}
	c := brokertest.Controller(t)
	url := "amqp://" + n.Addr
	l := listen(t, url, c, rabbitmq.ListenOptions{AMQP: func(c *amqp.Config) {
		as(c)
		tries.Add(1)
	}})
	tr, err := rabbitmq.New(url, rabbitmq.Options{AMQP: as})
	require.NoError(t, err)
	changed := func(password string) func() {
		return func() {
			n.Ctl("change_password", "u", password)
			n.Ctl("close_all_connections", "the password has changed")
		}
	}
	t.Run("refused and restored", func(t *testing.T) {
		brokertest.Recover(t, c, l, tr, &tries, changed("other"), func() { n.Ctl("change_password", "u", "first") })
	})
	t.Run("rotated", func(t *testing.T) {
		brokertest.Recover(t, c, l, tr, &tries, changed("second"), func() { password.Store("second") })
	})
	t.Run("killed, and started without data", func(t *testing.T) {
		brokertest.Recover(t, c, l, tr, &tries, func() {
			n.Kill()
			require.NoError(t, os.RemoveAll(n.Data))
			n.Start()
		}, func() {
			n.Ctl("await_startup")
			n.Ctl("add_user", "u", "second")
			n.Ctl("set_permissions", "u", ".*", ".*", ".*")
		})
	})
}

// A broker that is away at the start is waited for, where the caller wants that.
func testAwayAtStart(t *testing.T, n *node) {
	n.Kill()
	c := brokertest.Controller(t)
	guest := n.url("guest:guest")
	l := listen(t, guest, c, rabbitmq.ListenOptions{RetryOnFailedConnect: true})
	require.ErrorContains(t, l.Ready(), "connection refused")
	a := brokertest.Run(t, open(t, guest))
	r := brokertest.Send(t, c, command.Drain{})
	n.Start()
	brokertest.AwaitReady(t, l)
	brokertest.Succeed(t, r)
	a.Stop(1)
}
