package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/brokertest"
)

// rotation is a broker with a user whose password a test changes.
type rotation struct {
	url  func(password string) string
	set  func(password string) // makes the user, or gives it another password
	kick func()                // ends the user's connections
}

// A password that is changed at the broker and in --broker-file is used by controller and agent without a restart.
func TestRotatedPassword(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]func(t *testing.T) rotation{"redis": redisUser, "rabbitmq": rabbitUser, "nats": natsUser} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := at(t)
			file := filepath.Join(t.TempDir(), "broker")
			write := func(password string) {
				require.NoError(t, os.WriteFile(file+".new", []byte(broker.url(password)+"\n"), 0o600))
				require.NoError(t, os.Rename(file+".new", file))
			}
			broker.set("first-s3cret")
			write("first-s3cret")
			prefix := "rotated-" + uuid.NewString()
			ctl, url := startController(t, "--broker-file", file, "--prefix", prefix)
			a := start(t, "agent", "--vm", "vm-1", "--transport", name, "--broker-file", file, "--prefix", prefix)
			ok(t, "send", "vm-1", "drain", "--controller", url, "--wait", "60s")
			broker.set("second-s3cret")
			write("second-s3cret")
			broker.kick()
			ctl.log.await(t, "the connection to the broker was lost")
			ok(t, "send", "vm-1", "drain", "--controller", url, "--wait", "90s")
			require.Equal(t, "200 ok", get(t, url+"/readyz"))
			require.NotContains(t, ctl.log.String()+a.log.String(), "s3cret")
		})
	}
}

func redisUser(t *testing.T) rotation {
	at := outside(t, "MIGLINK_TEST_REDIS", "127.0.0.1:6379", "redis://127.0.0.1:6379")
	o, err := redis.ParseURL(at)
	require.NoError(t, err)
	admin := redis.NewClient(o)
	user := "rotated-" + uuid.NewString()
	t.Cleanup(func() {
		require.NoError(t, admin.Do(context.Background(), "ACL", "DELUSER", user).Err())
		require.NoError(t, admin.Close())
	})
	do := func(args ...any) { require.NoError(t, admin.Do(t.Context(), args...).Err()) }
	return rotation{
		url: func(password string) string { return with(t, at, user, password) },
		set: func(password string) {
			do("ACL", "SETUSER", user, "on", "resetpass", ">"+password, "~*", "&*", "+@all")
		},
		kick: func() { do("CLIENT", "KILL", "USER", user) },
	}
}

func rabbitUser(t *testing.T) rotation {
	node := brokertest.StartRabbit(t)
	node.Ctl("add_user", "ann", "x")
	node.Ctl("set_permissions", "ann", ".*", ".*", ".*")
	return rotation{
		url:  func(password string) string { return with(t, "amqp://"+node.Addr, "ann", password) },
		set:  func(password string) { node.Ctl("change_password", "ann", password) },
		kick: func() { node.Ctl("close_all_user_connections", "ann", "the password is another") },
	}
}

func natsUser(t *testing.T) rotation {
	s := natsAt(t, 0)
	address := s.Addr().String()
	return rotation{
		url: func(password string) string { return with(t, "nats://"+address, "ann", password) },
		set: func(password string) { // and those who logged in with another are disconnected
			u, err := url.Parse(s.ClientURL())
			require.NoError(t, err)
			o := &server.Options{Host: u.Hostname(), NoLog: true, NoSigs: true, Username: "ann", Password: password}
			_, err = fmt.Sscan(u.Port(), &o.Port)
			require.NoError(t, err)
			require.NoError(t, s.ReloadOptions(o))
		},
		kick: func() {},
	}
}

// with is a URL with another user.
func with(t *testing.T, at, user, password string) string {
	t.Helper()
	u, err := url.Parse(at)
	require.NoError(t, err)
	u.User = url.UserPassword(user, password)
	return u.String()
}
