package web_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

var registry = transport.Registry{
	{Name: "ws", Open: ws.Open}, {Name: "sse", Open: sse.Open}, {Name: "longpoll", Open: longpoll.Open},
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEveryTransport sends commands to an agent over each transport, by every kind of server.
func TestEveryTransport(t *testing.T) {
	for _, server := range []string{"http", "https", "h2"} {
		for _, spec := range []string{"ws", "sse", "longpoll", "auto", "sse+longpoll"} {
			t.Run(server+"/"+spec, func(t *testing.T) { testTransport(t, server, spec) })
		}
	}
}

func testTransport(t *testing.T, server, spec string) {
	l := memory.New()
	events := make(chan event.Event, 1)
	c := controller.New(l, controller.Options{OnEvent: func(_ context.Context, _ string, e event.Event) error {
		events <- e
		return nil
	}})
	mux := http.NewServeMux()
	mux.Handle("/some/prefix/", http.StripPrefix("/some/prefix", web.Handler(c, web.Options{})))
	s := httptest.NewUnstartedServer(mux)
	s.EnableHTTP2 = server == "h2"
	config := transport.Config{}
	if server == "http" {
		s.Start()
	} else {
		s.StartTLS()
		config.TLS = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		config.TLS.NextProtos = nil
	}
	config.URL = s.URL + "/some/prefix/"
	tr, err := registry.Open(spec, config)
	require.NoError(t, err)

	vm := "pool/vm 1 ü%2F"
	a, err := agent.New(tr, agent.Options{VM: vm})
	require.NoError(t, err)
	agent.Handle(a, func(_ context.Context, job *agent.Job, p command.UpdateConfig) (any, error) {
		if p.ConfigKey == "bad" {
			return nil, fmt.Errorf("no such key")
		}
		return p.ConfigValue, nil
	}, agent.Policy{})
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- a.Run(ctx) }()

	value := "quotes \" tab \t crlf \r\n u2028 \u2028 rune 😀 <&>"
	for i := range 5 {
		key := "k"
		if i == 3 {
			key = "bad"
		}
		cmd, err := command.New(command.UpdateConfig{ConfigKey: key, ConfigValue: value}, command.Options{})
		require.NoError(t, err)
		r, err := c.Send(t.Context(), vm, cmd)
		require.NoError(t, err)
		e, err := r.Wait(t.Context())
		require.NoError(t, err)
		if i == 3 {
			require.Equal(t, ack.Failed, e.State.Stage)
			require.Equal(t, "no such key", e.Reason)
			continue
		}
		require.Equal(t, ack.Succeeded, e.State.Stage)
		require.Equal(t, 1, e.State.Attempt)
		var result string
		require.NoError(t, json.Unmarshal(e.Result, &result))
		require.Equal(t, value, result)
	}
	require.NoError(t, a.Report(t.Context(), event.Event{Type: event.VMStarted}))
	e := <-events
	require.Equal(t, vm, e.VMID)
	p, _ := c.Presence(vm)
	require.True(t, p.Online)
	require.Equal(t, a.Instance(), p.Instance)

	stop()
	require.NoError(t, <-ran)
	require.NoError(t, c.Close())
	s.Close()
}

func TestProblems(t *testing.T) {
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	s := httptest.NewServer(web.Handler(c, web.Options{}))
	defer s.Close()
	for _, test := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"GET", "/nowhere", "", 404, "invalid"},
		{"DELETE", "/vms/vm-1/commands", "", 405, "invalid"},
		{"GET", "/vms/vm-1/events", "", 405, "invalid"},
		{"GET", "/vms/vm-1/commands?wait=soon", "", 400, "invalid"},
		{"GET", "/vms/vm-1/commands?window=0", "", 400, "invalid"},
		{"GET", "/vms/" + strings.Repeat("x", 200) + "/commands", "", 400, "invalid"},
		{"GET", "/vms/vm%00/commands", "", 400, "invalid"},
		{"GET", "/vms/vm-1/commands?after=" + strings.Repeat("x", 200), "", 400, "invalid"},
		{"GET", "/vms/vm-1/commands/ws", "", 400, "protocol"},
		{"POST", "/vms/vm-1/commands/ack", "", 400, "invalid"},
		{"POST", "/vms/vm-1/commands/ack", "{", 400, "invalid"},
		{"POST", "/vms/vm-1/commands/ack", `{"command_id":"x"}`, 400, "invalid"},
		{"POST", "/vms/vm-1/commands/ack", `{"command_id":"x","status":"nonsense"}`, 400, "invalid"},
		{"POST", "/vms/vm-1/commands/ack", `{"command_id":"x","status":"processed"}`, 404, "unknown_command"},
		{"POST", "/vms/vm-1/commands/ack", `[{"command_id":"x","status":"processed"}]`, 409, "acks_refused"},
		{"POST", "/vms/vm-1/commands/ack", strings.Repeat(" ", 1<<20+1), 413, "too_large"},
		{"POST", "/vms/vm-1/events", `{"type":""}`, 400, "invalid"},
	} {
		req, err := http.NewRequest(test.method, s.URL+test.path, strings.NewReader(test.body))
		require.NoError(t, err)
		resp, err := s.Client().Do(req)
		require.NoError(t, err)
		b := readAll(t, resp)
		name := test.method + " " + test.path
		require.Equal(t, test.status, resp.StatusCode, name+b)
		require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"), name)
		require.Contains(t, b, `"code":"`+test.code+`"`, name)
		if allow := resp.Header.Get("Allow"); test.status == 405 {
			require.Contains(t, b, "wants "+strings.ReplaceAll(allow, ", ", " or "), name)
			require.Equal(t, map[bool]string{true: "GET, POST", false: "POST"}[strings.HasSuffix(test.path, "/commands")], allow, name)
		}
	}
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

// TLS 1.2 is spoken by a server of which somebody has said so.
func TestOldTLS(t *testing.T) {
	t.Parallel()
	ca := certtest.NewAuthority(t)
	for _, old := range []bool{false, true} {
		server := web.NewServer(t.Context(), http.NotFoundHandler(), web.ServerOptions{})
		server.ErrorLog = log.New(io.Discard, "", 0)
		server.TLSConfig.Certificates = []tls.Certificate{ca.Server(t, "127.0.0.1").TLS(t)}
		if old {
			server.TLSConfig.MinVersion = tls.VersionTLS12
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served := make(chan error, 1)
		go func() { served <- server.ServeTLS(l, "", "") }()
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			client := httplink.NewClient(&tls.Config{RootCAs: ca.Pool(), MinVersion: version, MaxVersion: version})
			resp, err := client.Get("https://" + l.Addr().String())
			if version == tls.VersionTLS12 && !old {
				require.ErrorContains(t, err, "protocol version")
				continue
			}
			require.NoError(t, err)
			readAll(t, resp)
			require.Equal(t, version, resp.TLS.Version)
			require.Equal(t, 2, resp.ProtoMajor)
			client.CloseIdleConnections()
		}
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	}
}
