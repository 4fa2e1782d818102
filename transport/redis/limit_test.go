package redis_test

import (
	"context"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	redisgo "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/redis"
)

// lines is a log.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// setLimits gives a server the settings of the package's documentation, as they are written.
func setLimits(t *testing.T, admin *redisgo.Client) {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	found := regexp.MustCompile(`(?m)^//\t(proto-max-bulk-len|client-output-buffer-limit) (.*)$`).FindAllStringSubmatch(string(doc), -1)
	require.Len(t, found, 2)
	for _, setting := range found {
		require.NoError(t, admin.ConfigSet(t.Context(), setting[1], setting[2]).Err())
	}
}

const tooMuch = "the broker takes messages that are far larger than any frame"

// A server with the documented settings ends the connection of the VM that sends 40 MB, and nothing else: no link of
// another ends, and nobody is warned.
func TestOneVMsMessageIsItsOwnHarm(t *testing.T) {
	t.Parallel()
	s, admin := start(t)
	setUsers(t, admin)
	setLimits(t, admin)
	var log lines
	var links sync.Map // times that each VM has opened one
	c := brokertest.Controller(t)
	listen(t, "redis://controller:PASSWORD@"+s.Addr, observed(func(ctx context.Context, h transport.Hello) (transport.Link, error) {
		n, _ := links.LoadOrStore(h.VM, 0)
		links.Store(h.VM, n.(int)+1)
		return c.Dial(ctx, h)
	}), redis.ListenOptions{Log: log.logger()})
	good := brokertest.RunVM(t, "good", open(t, "redis://"+s.Addr))
	brokertest.Succeed(t, brokertest.SendTo(t, c, "good", command.Drain{}))

	o, err := redisgo.ParseURL("redis://vm-1:PASSWORD@" + s.Addr)
	require.NoError(t, err)
	o.DisableIdentity, o.MaxRetries = true, -1
	bad := redisgo.NewClient(o)
	defer bad.Close()
	for _, channel := range []string{"miglink:hello:vm-1:s", "miglink:up:vm-1:s"} {
		for range 3 {
			require.Error(t, bad.Publish(t.Context(), channel, make([]byte, 40<<20)).Err())
		}
		require.NoError(t, bad.Publish(t.Context(), channel, make([]byte, 2<<20)).Err(), "what a frame may be")
	}
	brokertest.Succeed(t, brokertest.SendTo(t, c, "good", command.Drain{}))
	n, _ := links.Load("good")
	require.Equal(t, 1, n, "its link lives")
	good.Stop(2)
	require.NotContains(t, log.String(), "the connection to the broker was lost")
	require.NotContains(t, log.String(), tooMuch)
}

// A server without them is found out when a controller begins to listen, once, and listened at all the same.
func TestALimitThatIsMissing(t *testing.T) {
	t.Parallel()
	s, admin := start(t)
	setUsers(t, admin)
	var log lines
	c := brokertest.Controller(t)
	listen(t, "redis://controller:PASSWORD@"+s.Addr, c, redis.ListenOptions{Log: log.logger()})
	require.Eventually(t, func() bool { return strings.Contains(log.String(), tooMuch) }, time.Minute, time.Millisecond)
	brokertest.Survive(t, c, open(t, "redis://vm-1:PASSWORD@"+s.Addr), 2, func() {
		s.Kill()
		s.Start()
		admin := redisgo.NewClient(&redisgo.Options{Addr: s.Addr})
		defer admin.Close()
		setUsers(t, admin)
	})
	require.Equal(t, 1, strings.Count(log.String(), tooMuch))
	require.Contains(t, log.String(), "proto-max-bulk-len")
}
