package subjects_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/controller/audit"
	"github.com/miglink/miglink/ledger/bolt"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/nats"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// hush is a secret that looks different in most encodings.
const hush = `hu<5h>&"Zq7vK1pX9s\/é+==`

// forms are the secret as it may be written, in whole or, for base64, without its ends.
func forms() map[string]string {
	quoted, _ := json.Marshal(hush)
	plain := new(bytes.Buffer)
	e := json.NewEncoder(plain)
	e.SetEscapeHTML(false)
	_ = e.Encode(hush)
	f := map[string]string{
		"raw": hush, "its core": "Zq7vK1pX9s", "JSON": strings.Trim(string(quoted), `"`), "JSON without HTML escapes": strings.Trim(strings.TrimSpace(plain.String()), `"`),
		"%q": strings.Trim(fmt.Sprintf("%q", hush), `"`), "hex": hex.EncodeToString([]byte(hush)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(hush))),
		"query": url.QueryEscape(hush), "path": url.PathEscape(hush), "bytes": strings.Trim(fmt.Sprintf("%d", []byte(hush)), "[]"),
	}
	for at := range 3 { // wherever it begins in what is encoded
		b := append(make([]byte, at), hush...)
		b = b[:len(b)/3*3]
		f[fmt.Sprint("base64 at ", at)] = base64.StdEncoding.EncodeToString(b)[(at+2)/3*4:]
		f[fmt.Sprint("base64url at ", at)] = base64.URLEncoding.EncodeToString(b)[(at+2)/3*4:]
	}
	return f
}

// found are the forms of the secret that are in b.
func found(b []byte) []string {
	var out []string
	for name, form := range forms() {
		if bytes.Contains(b, []byte(form)) {
			out = append(out, name)
		}
	}
	return out
}

// filesWith are the files below a directory that hold the secret.
func filesWith(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if len(found(b)) > 0 {
			out = append(out, path)
		}
		return err
	}))
	return out
}

func TestFound(t *testing.T) {
	t.Parallel()
	for at := range 7 {
		b := append(bytes.Repeat([]byte("x"), at), hush+"yyyyyyy"...)
		for name, text := range map[string]string{
			"raw": string(b), "base64": base64.StdEncoding.EncodeToString(b), "base64url": base64.RawURLEncoding.EncodeToString(b),
			"hex": hex.EncodeToString(b), "JSON": fmt.Sprintf(`{"a":%q}`, b), "bytes": fmt.Sprintf("%d", b),
		} {
			require.NotEmpty(t, found([]byte(text)), "%s at %d", name, at)
		}
	}
	require.Empty(t, found([]byte("[redacted]")))
}

// login is a type of a team's own.
type login struct {
	Password command.Secret `json:"password"`
	Level    int            `json:"level"`
}

func (login) CommandType() command.Type { return "login" }

func (l login) Validate() error {
	if l.Level < 0 {
		return fmt.Errorf("level of %v is negative", l)
	}
	return nil
}

func (l login) LogValue() slog.Value { return command.LogValue(l) }

// everything collects what a run writes.
type everything struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (e *everything) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.b.Write(p)
}

func (e *everything) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.b.String()
}

// said keeps an error, in all the ways that errors are printed.
func (e *everything) said(err error) {
	if err != nil {
		fmt.Fprintf(e, "%v %+v %#v %q\n", err, err, err, err)
	}
}

// Whatever happens to commands with secrets, over any transport, at debug level: none is in a log, an answer, an
// error or the audit, and once the commands are settled none is in a file.
func TestSecretsAreNowhere(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, dir := new(everything), t.TempDir()
	log := slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	command.Declare(login{}) // the one place that says what is secret

	ledger, err := bolt.Open(filepath.Join(dir, "ledger"), bolt.Options{})
	require.NoError(t, err)
	c := controller.New(ledger, controller.Options{Log: log, AckDeadline: 200 * time.Millisecond})
	records, err := audit.Open(filepath.Join(dir, "audit.log"))
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(c, web.Options{Log: log})))
	mux.Handle(grpc.Handler(c, grpc.HandlerOptions{Log: log}))
	mux.Handle("/admin/", http.StripPrefix("/admin", admin.Handler(c, admin.Options{Audit: records, Log: log})))
	front := httptest.NewUnstartedServer(mux)
	front.Config.Protocols = new(http.Protocols)
	front.Config.Protocols.SetHTTP1(true)
	front.Config.Protocols.SetUnencryptedHTTP2(true)
	front.Config.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelError)
	front.Start()
	defer front.Close()
	broker, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	require.NoError(t, err)
	broker.Start()
	defer broker.Shutdown()
	require.True(t, broker.ReadyForConnections(10*time.Second))
	listener, err := nats.Listen(ctx, broker.ClientURL(), c, nats.ListenOptions{Log: log})
	require.NoError(t, err)
	defer listener.Close()

	client, err := admin.NewClient(front.URL+"/admin", transport.Config{})
	require.NoError(t, err)
	watching, seen := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(seen)
		first := true
		for n, err := range client.Watch(ctx, "") {
			if first {
				close(watching)
				first = false
			}
			out.said(err)
			_ = json.NewEncoder(out).Encode(n)
			fmt.Fprintf(out, "%+v %+v\n", n, n.Command)
		}
	}()

	var agents []*agent.Agent
	var ids []string
	stop, stopAgents := context.WithCancel(ctx)
	for name, dial := range map[string]func() (transport.Transport, error){
		"ws":       func() (transport.Transport, error) { return ws.New(front.URL+"/api/v1", ws.Options{}) },
		"sse":      func() (transport.Transport, error) { return sse.New(front.URL+"/api/v1", sse.Options{}) },
		"longpoll": func() (transport.Transport, error) { return longpoll.New(front.URL+"/api/v1", longpoll.Options{}) },
		"grpc":     func() (transport.Transport, error) { return grpc.New(front.URL, grpc.Options{}) },
		"nats":     func() (transport.Transport, error) { return nats.New(broker.ClientURL(), nats.Options{}) },
	} {
		send := func(t command.Type, p string, o admin.Send) {
			o.VM, o.Type, o.Parameters = name, t, command.Parameters(p)
			s, err := client.Send(ctx, o)
			out.said(err)
			fmt.Fprintf(out, "%+v\n", s)
			if err == nil {
				ids = append(ids, s.ID)
			}
		}
		quoted, err := json.Marshal(hush)
		require.NoError(t, err)
		runner := fmt.Sprintf(`{"registration_token":%s,"runner_url":"https://ci.example.com"}`, quoted)
		own := func(level string) string { return fmt.Sprintf(`{"password":%s,"level":%s}`, quoted, level) }

		// Before there is an agent: what never is delivered, and what never is sent.
		send(command.TypeRegisterRunner, runner, admin.Send{Supersede: "k"})
		send(command.TypeRegisterRunner, runner, admin.Send{Supersede: "k", IdempotencyKey: "i"})
		send(command.TypeRegisterRunner, strings.Replace(runner, "5h", "6h", 1), admin.Send{IdempotencyKey: "i"})
		send(command.TypeRegisterRunner, strings.Replace(runner, "ci.", "other.", 1), admin.Send{IdempotencyKey: "i"})
		send(command.TypeRegisterRunner, runner, admin.Send{TTL: command.Duration(time.Millisecond)})
		send(command.TypeRegisterRunner, runner, admin.Send{ID: name + "-canceled"})
		_, err = client.Cancel(ctx, name+"-canceled", "no")
		out.said(err)
		send(command.TypeRegisterRunner, `{"registration_token":`+string(quoted), admin.Send{})
		send(command.TypeRegisterRunner, `{"registration_token":[`+string(quoted)+`]}`, admin.Send{})
		send(command.TypeRegisterRunner, `{"registration_token":"a","expires_at":`+string(quoted)+`}`, admin.Send{})
		resp, err := http.Post(front.URL+"/admin/commands", "application/json", strings.NewReader(`{"vm_id":"x","parameters":`+runner+`,"ttl":`+string(quoted)+`}`))
		require.NoError(t, err)
		require.NoError(t, resp.Write(out))
		resp.Body.Close()

		// What handlers return, refuse, defer and panic with, and what no handler is for.
		for level := range 6 {
			send("login", own(fmt.Sprint(level)), admin.Send{})
		}
		send("login", own("-1"), admin.Send{})
		send("login", own(`"high"`), admin.Send{})
		send("no_handler", `{"a":1}`, admin.Send{})

		tr, err := dial()
		require.NoError(t, err)
		a, err := agent.New(tr, agent.Options{VM: name, Journal: filepath.Join(dir, "journal of "+name), Log: log, BackoffInitial: 10 * time.Millisecond, BackoffMax: 50 * time.Millisecond})
		require.NoError(t, err)
		agent.Handle(a, func(_ context.Context, job *agent.Job, p command.RegisterRunner) (any, error) {
			log.Debug("registers", "parameters", p, "command", job.Command())
			require.Equal(t, hush, p.RegistrationToken.Reveal())
			return map[string]string{"url": p.RunnerURL}, nil
		}, agent.Policy{})
		deferred := false
		agent.Handle(a, func(_ context.Context, job *agent.Job, p login) (any, error) {
			require.Equal(t, hush, p.Password.Reveal())
			switch p.Level {
			case 0:
				return fmt.Sprintf("%v %+v", p, job.Command()), nil
			case 1:
				return nil, fmt.Errorf("cannot log in with %v", p)
			case 2:
				panic(p)
			case 3:
				return nil, agent.Reject(fmt.Sprint(p))
			case 4:
				if !deferred {
					deferred = true
					front.CloseClientConnections()
					return nil, agent.RetryLater(10*time.Millisecond, fmt.Sprint(p))
				}
			}
			return nil, nil
		}, agent.Policy{})
		agents = append(agents, a)
	}
	<-watching
	var running sync.WaitGroup
	for _, a := range agents {
		running.Go(func() {
			if err := a.Run(stop); !errors.Is(err, context.Canceled) {
				out.said(err)
			}
		})
	}
	require.NotEmpty(t, filesWith(t, filepath.Join(dir, "ledger")), "that is what is looked for")
	for _, id := range ids {
		s, err := client.Wait(ctx, id)
		for err != nil { // its connection was cut
			out.said(err)
			s, err = client.Wait(ctx, id)
		}
		require.NotEqual(t, ack.Dead, s.Stage, "%+v", s)
		fmt.Fprintf(out, "%+v\n", s)
		e, err := c.Get(ctx, id)
		require.NoError(t, err)
		require.Empty(t, found(e.Command.Parameters))
	}
	for _, vm := range []string{"ws", "sse", "longpoll", "grpc", "nats"} {
		list, err := client.List(ctx, vm, 0, 1000)
		require.NoError(t, err)
		require.NoError(t, json.NewEncoder(out).Encode(list))
	}
	fleet, err := client.Fleet(ctx)
	require.NoError(t, err)
	require.NoError(t, json.NewEncoder(out).Encode(fleet))

	stopAgents()
	running.Wait()
	cancel()
	<-seen
	require.NoError(t, c.Close())
	require.NoError(t, ledger.Close())
	require.NoError(t, records.Close())
	written := out.String()
	for _, part := range []string{`"component":"agent"`, `"component":"controller"`, `key_reused`, `"kind":"command"`, "panic", `[redacted]`} {
		require.Contains(t, written, part, "the run was one to learn from")
	}
	if forms := found([]byte(written)); len(forms) > 0 {
		at := strings.Index(written, "Zq7vK1pX9s")
		require.Failf(t, "a secret was written", "%v: %s", forms, written[max(0, at-600):min(len(written), at+100)])
	}
	require.Empty(t, filesWith(t, dir))
}
