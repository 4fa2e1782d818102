package admin_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/memnet"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// byToken are operators whose tokens are their grants, with spaces between.
var byToken = admin.Tokens(func(token string) (string, []string, time.Time, error) {
	if token == "broken" {
		return "", nil, time.Time{}, errors.New("the key server db-7 is down")
	}
	return "op of " + token, strings.Fields(strings.TrimPrefix(token, "none")), time.Time{}, nil
})

// as is a client with a token.
func (w *world) as(token string) *admin.Client {
	w.t.Helper()
	c, err := admin.NewClient(w.server.URL+"/admin", transport.Config{Token: func(context.Context) (string, error) { return token, nil }})
	require.NoError(w.t, err)
	return c
}

func send(vm string, t command.Type, id string) admin.Send {
	return admin.Send{VM: vm, Type: t, ID: id}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	expired := admin.AuthenticatorFunc(func(_ context.Context, c transport.Credentials) (admin.Operator, error) {
		op, err := byToken.Authenticate(t.Context(), c)
		op.Expires = time.Now()
		return op, err
	})
	for _, test := range []struct {
		a     admin.Authenticator
		token string
		err   error
		says  string
	}{
		{byToken, "", transport.ErrUnauthorized, "a token is wanted"},
		{byToken, "broken", transport.ErrUnauthorized, "no credentials of an operator"},
		{byToken, "read sned", transport.ErrUnauthorized, "no credentials of an operator"},
		{byToken, strings.Repeat("x", transport.MaxToken+1), transport.ErrTooLarge, "token"},
		{expired, "read", transport.ErrCredentialsExpired, ""},
		{byToken, "none", transport.ErrForbidden, "this needs the grant read"},
		{byToken, "read", nil, ""},
	} {
		w := newWorld(t, admin.Options{Authenticator: test.a})
		_, err := w.as(test.token).Fleet(t.Context())
		if test.err == nil {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, test.err, "%.40s", test.token)
		require.ErrorContains(t, err, test.says)
		require.NotContains(t, err.Error(), "db-7")
	}
}

// Each grant opens what it says and nothing else.
func TestGrants(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{Authenticator: byToken})
	all := w.as("read send")
	for _, id := range []string{"a-drain", "b-drain", "a-shutdown"} {
		vm, typ, _ := strings.Cut(id, "-")
		_, err := all.Send(t.Context(), send("pool-"+vm, command.Type(typ), id))
		require.NoError(t, err)
	}
	ctx := t.Context()
	sends := func(vm string, typ command.Type) func(*admin.Client) error {
		return func(c *admin.Client) error {
			_, err := c.Send(ctx, send(vm, typ, ""))
			return err
		}
	}
	get := func(id string) func(*admin.Client) error {
		return func(c *admin.Client) error { _, err := c.Get(ctx, id); return err }
	}
	cancels := func(id string) func(*admin.Client) error {
		return func(c *admin.Client) error { _, err := c.Cancel(ctx, id, ""); return err }
	}
	list := func(vm string) func(*admin.Client) error {
		return func(c *admin.Client) error { _, err := c.List(ctx, vm, 0, 10); return err }
	}
	watches := func(vm string) func(*admin.Client) error {
		return func(c *admin.Client) error {
			for _, err := range c.Watch(ctx, vm) {
				return err
			}
			return nil
		}
	}
	for _, test := range []struct {
		token string
		do    func(*admin.Client) error
		err   error
		says  string
	}{
		{"send:drain@pool-a", sends("pool-a", "drain"), nil, ""},
		{"send:drain@pool-a", sends("pool-b", "drain"), transport.ErrForbidden, "the grant send:drain@pool-b"},
		{"send:drain@pool-a", sends("pool-a", "shutdown"), transport.ErrForbidden, "the grant send:shutdown@pool-a"},
		{"read", sends("pool-a", "drain"), transport.ErrForbidden, "the grant send:drain@pool-a"},
		{"read@pool-a", get("a-drain"), nil, ""},
		{"read@pool-a", get("b-drain"), transport.ErrUnknownCommand, "there is no such command"},
		{"read@pool-a", get("none"), transport.ErrUnknownCommand, "there is no such command"},
		{"read:drain", get("a-shutdown"), transport.ErrUnknownCommand, "there is no such command"},
		{"send", get("a-drain"), transport.ErrForbidden, "the grant read"},
		{"send", get("none"), transport.ErrForbidden, "the grant read"},
		{"send:drain@pool-*", cancels("a-drain"), nil, ""},
		{"send:drain read", cancels("a-shutdown"), transport.ErrForbidden, "the grant send:shutdown@pool-a"},
		{"send:drain", cancels("a-shutdown"), transport.ErrUnknownCommand, "there is no such command"},
		{"send@pool-a read@pool-a", cancels("b-drain"), transport.ErrUnknownCommand, "there is no such command"},
		{"send:cancel@pool-a read", func(c *admin.Client) error {
			s := send("pool-a", command.TypeCancel, "sly") // it may read everything, and so choose
			s.Parameters = command.Parameters(`{"command_id":"a-shutdown"}`)
			_, err := c.Send(ctx, s)
			return err
		}, transport.ErrForbidden, "the grant send:shutdown@pool-a"},
		{"read@pool-a", list("pool-a"), nil, ""},
		{"read@pool-a", list("pool-b"), transport.ErrForbidden, "the grant read@pool-b"},
		{"read@pool-a", list("none"), transport.ErrForbidden, "the grant read@none"},
		{"read@pool-a", watches("pool-b"), transport.ErrForbidden, "the grant read@pool-b"},
		{"send", watches(""), transport.ErrForbidden, "the grant read"},
		{"send", func(c *admin.Client) error { _, err := c.Fleet(ctx); return err }, transport.ErrForbidden, "the grant read"},
	} {
		err := test.do(w.as(test.token))
		if test.err == nil {
			require.NoError(t, err, "%+v", test)
			continue
		}
		require.ErrorIs(t, err, test.err, "%+v", test)
		require.ErrorContains(t, err, test.says, "%+v", test)
	}
	_, err := w.c.Get(ctx, "sly")
	require.ErrorIs(t, err, transport.ErrUnknownCommand)
}

// What one may not read is not in what one gets.
func TestFilteredReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, admin.Options{Authenticator: byToken})
	for i := range 150 {
		typ := command.TypeDrain
		if i%10 == 0 {
			typ = command.TypeShutdown
		}
		_, err := w.as("send").Send(t.Context(), send("pool-a", typ, ""))
		require.NoError(t, err)
	}
	b := uuid.NewString() // who may not read everything chooses no other
	_, err := w.as("send").Send(t.Context(), send("pool-b", command.TypeDrain, b))
	require.NoError(t, err)
	fleet, err := w.as("read@pool-b").Fleet(t.Context())
	require.NoError(t, err)
	require.Len(t, fleet, 1)
	require.Equal(t, "pool-b", fleet[0].VM)
	fleet, err = w.as("read@none").Fleet(t.Context())
	require.NoError(t, err)
	require.Empty(t, fleet)

	shutdowns := w.as("read:shutdown")
	var seen []string
	for before := uint64(0); ; {
		page, err := shutdowns.List(t.Context(), "pool-a", before, 4)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, s := range page {
			require.Equal(t, command.TypeShutdown, s.Type)
			seen, before = append(seen, s.ID), s.Seq
		}
	}
	require.Len(t, seen, 15)
	require.Len(t, slices.Compact(seen), 15)

	// Who may send and not read is told that it was taken, and nothing of what came of it.
	l, err := w.c.Dial(t.Context(), transport.Hello{VM: "pool-b", Instance: "i"})
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: b, Stage: ack.Failed, Attempt: 1, Reason: "why", Result: []byte(`{"a":1}`)}))
	s, err := w.as("send").Send(t.Context(), send("pool-b", command.TypeDrain, b))
	require.NoError(t, err)
	require.Equal(t, ack.Failed, s.Stage)
	require.Empty(t, s.Reason)
	require.Empty(t, s.Result)
	require.Empty(t, s.History)
	s, err = w.as("send read").Send(t.Context(), send("pool-b", command.TypeDrain, b))
	require.NoError(t, err)
	require.Equal(t, "why", s.Reason)
}

// A watch tells of what one may read, until the credentials expire. So does a wait.
func TestWatchOfAnOperator(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		h, stop := memnet.Serve(&http.Server{Handler: admin.Handler(c, admin.Options{Authenticator: admin.AuthenticatorFunc(
			func(context.Context, transport.Credentials) (admin.Operator, error) {
				return admin.Operator{Grants: []admin.Grant{{Verb: admin.VerbRead, VM: "a", Type: "drain"}}, Expires: time.Now().Add(time.Minute)}, nil
			})})})
		defer stop()
		began := time.Now()
		resp, err := h.Get("http://localhost/watch")
		require.NoError(t, err)
		defer resp.Body.Close()
		synctest.Wait()
		for _, vm := range []string{"b", "a"} {
			for _, typ := range []command.Type{command.TypeShutdown, command.TypeDrain} {
				cmd, err := command.NewRaw(typ, nil, command.Options{ID: vm + "-" + string(typ)})
				require.NoError(t, err)
				_, err = c.Send(t.Context(), vm, cmd)
				require.NoError(t, err)
			}
			l, err := c.Dial(t.Context(), transport.Hello{VM: vm, Instance: "i"})
			require.NoError(t, err)
			defer l.Close()
		}
		body := new(strings.Builder)
		_, err = io.Copy(body, resp.Body)
		require.NoError(t, err)
		require.Equal(t, time.Minute, time.Since(began))
		require.Contains(t, body.String(), "a-drain")
		require.Contains(t, body.String(), "event: online")
		require.NotContains(t, body.String(), `"vm_id":"b"`)
		require.NotContains(t, body.String(), "shutdown")
		require.Contains(t, body.String(), "event: close\ndata: "+`{"code":"credentials_expired"`)
	})
}

func TestExpiryEndsWatchesOfTheClient(t *testing.T) {
	t.Parallel()
	a := admin.AuthenticatorFunc(func(context.Context, transport.Credentials) (admin.Operator, error) {
		return admin.Operator{Grants: []admin.Grant{{Verb: admin.VerbRead}}, Expires: time.Now().Add(50 * time.Millisecond)}, nil
	})
	w := newWorld(t, admin.Options{Authenticator: a})
	for _, err := range w.client.Watch(t.Context(), "") {
		require.ErrorIs(t, err, transport.ErrCredentialsExpired)
	}
	cmd, err := command.New(command.Drain{}, command.Options{ID: "c-1"})
	require.NoError(t, err)
	_, err = w.c.Send(t.Context(), "vm-1", cmd)
	require.NoError(t, err)
	_, err = w.client.Wait(t.Context(), "c-1")
	require.ErrorIs(t, err, transport.ErrCredentialsExpired)
}

// So many may watch and wait at a time; whoever ends gives the place back.
func TestPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		cmd, err := command.New(command.Drain{}, command.Options{ID: "c-1"})
		require.NoError(t, err)
		_, err = c.Send(t.Context(), "vm-1", cmd)
		require.NoError(t, err)
		h, stop := memnet.Serve(&http.Server{Handler: admin.Handler(c, admin.Options{MaxWatches: 1, MaxWaits: 1})})
		defer stop()
		get := func(path string) *http.Response {
			resp, err := h.Get("http://localhost" + path)
			require.NoError(t, err)
			return resp
		}
		full := func(path string) {
			t.Helper()
			resp := get(path)
			defer resp.Body.Close()
			require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
			require.Equal(t, "1", resp.Header.Get("Retry-After"))
		}
		first := get("/watch")
		full("/watch")
		require.NoError(t, first.Body.Close())
		synctest.Wait()
		second := get("/watch")
		require.Equal(t, http.StatusOK, second.StatusCode)

		var waiting sync.WaitGroup
		waiting.Go(func() { get("/commands/c-1?wait=3s").Body.Close() })
		synctest.Wait()
		full("/commands/c-1?wait=3s")
		waiting.Wait()
		again := get("/commands/c-1?wait=3s")
		require.Equal(t, http.StatusOK, again.StatusCode)
		again.Body.Close()

		// Whoever does not read loses the place when a write has taken too long.
		full("/watch")
		for range 5_000 {
			cmd, err := command.New(command.Drain{}, command.Options{})
			require.NoError(t, err)
			_, err = c.Send(t.Context(), cmd.ID, cmd)
			require.NoError(t, err)
		}
		time.Sleep(time.Minute)
		third := get("/watch")
		require.Equal(t, http.StatusOK, third.StatusCode)
		require.NoError(t, third.Body.Close())
		require.NoError(t, second.Body.Close())
	})
}

// One operator may take half of the places, so that nobody who may see a single VM keeps the others from watching.
func TestPlacesOfOneOperator(t *testing.T) {
	t.Parallel()
	for what, path := range map[string]string{"watches": "/watch?vm_id=vm-1", "waits": "/commands/c-1?wait=30s"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := controller.New(memory.New(), controller.Options{})
				defer c.Close()
				cmd, err := command.New(command.Drain{}, command.Options{ID: "c-1"})
				require.NoError(t, err)
				_, err = c.Send(t.Context(), "vm-1", cmd)
				require.NoError(t, err)
				h := admin.Handler(c, admin.Options{Authenticator: byToken, MaxWatches: 4, MaxWaits: 4})
				ctx, leave := context.WithTimeout(t.Context(), 10*time.Second) // fake
				var asking sync.WaitGroup
				defer asking.Wait()
				defer leave()
				ask := func(token string) *httptest.ResponseRecorder {
					w := httptest.NewRecorder()
					r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, http.NoBody)
					r.Header.Set("Authorization", "Bearer "+token)
					h.ServeHTTP(w, r)
					return w
				}
				for range 2 {
					asking.Go(func() { ask("read@vm-1") })
				}
				synctest.Wait()
				require.Equal(t, http.StatusTooManyRequests, ask("read@vm-1").Code)
				var other *httptest.ResponseRecorder
				asking.Go(func() { other = ask("read") })
				synctest.Wait()
				leave()
				asking.Wait()
				require.Equal(t, http.StatusOK, other.Code)
			})
		})
	}
}
