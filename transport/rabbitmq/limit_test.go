package rabbitmq_test

import (
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport/rabbitmq"
)

const tooMuch = "the broker takes messages that are far larger than any frame"

// A broker that takes messages of any size is found out when a controller begins to listen. One with the documented
// setting closes the channel of the VM that sends more, and no link of another ends.
func testLimits(t *testing.T, n *node) {
	guest := n.url("guest:guest")
	var before, log lines
	c := brokertest.Controller(t)
	l, err := rabbitmq.Listen(t.Context(), guest, c, rabbitmq.ListenOptions{Log: slog.New(slog.NewTextHandler(&before, nil))})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(before.String(), tooMuch) }, time.Minute, time.Millisecond)
	require.Contains(t, before.String(), "max_message_size")
	require.NoError(t, l.Close())

	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	size := regexp.MustCompile(`(?m)^//\tmax_message_size = (\d+)$`).FindStringSubmatch(string(doc))
	require.NotNil(t, size)
	n.Ctl("eval", "application:set_env(rabbit, max_message_size, "+size[1]+").")
	defer n.Ctl("eval", "application:set_env(rabbit, max_message_size, 134217728).")
	listen(t, guest, c, rabbitmq.ListenOptions{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	good := brokertest.RunVM(t, "good", open(t, guest))
	brokertest.Succeed(t, brokertest.SendTo(t, c, "good", command.Drain{}))
	i := intrude(t, guest)
	for _, key := range []string{"hello.vm-1.s", "up.vm-1.s"} {
		require.ErrorContains(t, i.publishBody("miglink", key, nil, strings.Repeat("x", 40<<20)), "larger than")
	}
	brokertest.Succeed(t, brokertest.SendTo(t, c, "good", command.Drain{}))
	good.Stop(2)
	require.NotContains(t, log.String(), "was lost")
	require.NotContains(t, log.String(), tooMuch)
}
