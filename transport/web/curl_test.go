package web_test

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport/web"
)

// The agents that PROTOCOL.md shows, which are a shell and curl, do what it says.
func TestCurlIsAnAgent(t *testing.T) {
	for _, tool := range []string{"curl", "sh"} {
		needs.Program(t, tool)
	}
	protocol, err := os.ReadFile("../../PROTOCOL.md")
	require.NoError(t, err)
	for _, name := range []string{"long poll", "SSE"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, script, ok := strings.Cut(string(protocol), "```sh\n# agent over "+name+"\n")
			require.True(t, ok)
			script, _, ok = strings.Cut(script, "```")
			require.True(t, ok)

			c := controller.New(memory.New(), controller.Options{})
			server := httptest.NewServer(web.Handler(c, web.Options{}))
			ctx, kill := context.WithCancel(t.Context())
			defer func() {
				kill()
				c.Close() // ends the request that the server would wait for
				server.Close()
			}()
			var receipts []*controller.Receipt
			send := func() {
				cmd, err := command.New(command.Drain{Reason: `"quoted" & more`}, command.Options{})
				require.NoError(t, err)
				r, err := c.Send(t.Context(), "vm-1", cmd)
				require.NoError(t, err)
				receipts = append(receipts, r)
			}
			send() // one waits for the agent
			send()
			agent := exec.CommandContext(ctx, "sh", "-c", script)
			agent.Env = append(os.Environ(), "BASE="+server.URL, "VM=vm-1", "no_proxy=*")
			agent.Stderr = t.Output()
			out := &strings.Builder{}
			agent.Stdout = out
			require.NoError(t, agent.Start())
			for range 3 { // and others for nobody
				for _, r := range receipts {
					e, err := r.Wait(t.Context())
					require.NoError(t, err)
					require.Equal(t, ack.Succeeded, e.State.Stage)
					require.Equal(t, 1, e.State.Attempt)
				}
				send()
			}
			_, err := receipts[len(receipts)-1].Wait(t.Context())
			require.NoError(t, err)

			// When the controller stops, so do they.
			c.Close()
			server.CloseClientConnections()
			_ = agent.Wait()
			for _, r := range receipts {
				require.Equal(t, 1, strings.Count(out.String(), "running "+r.ID()), out.String())
			}
		})
	}
}
