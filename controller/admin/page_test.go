package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// maxAnswer is what one answer may have: 4 MiB of elements, and what is around them.
const maxAnswer = 4<<20 + 100

// large is a world whose controller takes as many commands for a VM as one likes.
func large(t *testing.T, o admin.Options) *world {
	t.Helper()
	w := &world{t: t, c: controller.New(memory.New(), controller.Options{Limits: ledger.Limits{Commands: 1 << 20, Bytes: 1 << 30}})}
	w.server = httptest.NewServer(http.StripPrefix("/admin", admin.Handler(w.c, o)))
	var err error
	w.client, err = admin.NewClient(w.server.URL+"/admin", transport.Config{})
	require.NoError(t, err)
	t.Cleanup(func() {
		w.c.Close()
		w.server.Close()
	})
	return w
}

func (w *world) add(vm string, t command.Type, id string) {
	w.t.Helper()
	cmd, err := command.NewRaw(t, nil, command.Options{ID: id})
	require.NoError(w.t, err)
	_, err = w.c.Send(w.t.Context(), vm, cmd)
	require.NoError(w.t, err)
}

// An answer is bounded however large the results in it are, and the client gets all of them all the same.
func TestListOfLargeResults(t *testing.T) {
	t.Parallel()
	w := large(t, admin.Options{})
	link, err := w.c.Dial(t.Context(), transport.Hello{VM: "vm-1", Instance: "i"})
	require.NoError(t, err)
	defer link.Close()
	const commands = 150
	result := json.RawMessage(`"` + strings.Repeat("r", ack.MaxResult-2) + `"`)
	for i := range commands {
		id := fmt.Sprint("c-", i)
		w.add("vm-1", command.TypeDrain, id)
		require.NoError(t, link.Ack(t.Context(), ack.Ack{CommandID: id, Stage: ack.Succeeded, Attempt: 1, Result: result}))
	}
	status, body := w.request(http.MethodGet, "/vms/vm-1/commands?limit=1000", "")
	require.Equal(t, http.StatusOK, status)
	require.LessOrEqual(t, len(body), maxAnswer)
	require.Greater(t, len(body), maxAnswer-2*ack.MaxResult, "and not emptier than it has to be")
	var page struct {
		Commands []admin.Status
		More     bool
		Before   uint64
	}
	require.NoError(t, json.Unmarshal([]byte(body), &page))
	require.True(t, page.More)
	require.Equal(t, page.Commands[len(page.Commands)-1].Seq, page.Before)

	list, err := w.client.List(t.Context(), "vm-1", 0, 1000)
	require.NoError(t, err)
	require.Len(t, list, commands)
	for i, s := range list {
		require.EqualValues(t, commands-i, s.Seq)
		require.Len(t, s.Result, ack.MaxResult)
	}
	list, err = w.client.List(t.Context(), "vm-1", 100, 80)
	require.NoError(t, err)
	require.Len(t, list, 80)
	require.EqualValues(t, 99, list[0].Seq)
}

// A list of few is one page, and says nothing of more. One of more than a request may ask for is several.
func TestListOfFewAndMany(t *testing.T) {
	t.Parallel()
	w := large(t, admin.Options{})
	for i := range 2500 {
		w.add("vm-1", command.TypeDrain, fmt.Sprint("c-", i))
	}
	w.add("vm-2", command.TypeDrain, "d")
	status, body := w.request(http.MethodGet, "/vms/vm-2/commands", "")
	require.Equal(t, http.StatusOK, status)
	require.NotContains(t, body, "more")
	require.NotContains(t, body, "before")
	_, body = w.request(http.MethodGet, "/vms/none/commands", "")
	require.JSONEq(t, `{"commands":[]}`, body)
	for limit, want := range map[int]int{1: 1, 999: 999, 1000: 1000, 1001: 1001, 2500: 2500, 9999: 2500} {
		list, err := w.client.List(t.Context(), "vm-1", 0, limit)
		require.NoError(t, err)
		require.Len(t, list, want)
		require.EqualValues(t, 2500-want+1, list[want-1].Seq)
	}
	_, err := w.client.List(t.Context(), "vm-1", 0, 0)
	require.ErrorIs(t, err, transport.ErrInvalid)
}

// Whoever may read few types of many does not have the whole past of a VM read for one answer.
func TestListOfWhatOneMayNotRead(t *testing.T) {
	t.Parallel()
	w := large(t, admin.Options{Authenticator: byToken})
	w.add("vm-1", command.TypeShutdown, "first")
	for i := range 12_000 {
		w.add("vm-1", command.TypeDrain, fmt.Sprint("c-", i))
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/admin/vms/vm-1/commands", http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer read:shutdown")
	resp, err := w.server.Client().Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.JSONEq(t, `{"commands":[],"more":true,"before":2002}`, string(body))
	list, err := w.as("read:shutdown").List(t.Context(), "vm-1", 0, 10)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "first", list[0].ID)
}

// A fleet comes in pages of as many as were asked for, or as fit, and the client gets all of it all the same.
func TestFleetInPages(t *testing.T) {
	t.Parallel()
	w := large(t, admin.Options{})
	const vms = 2_500
	name := func(i int) string { return fmt.Sprintf("%s-%06d", strings.Repeat("n", 100), i) }
	for i := range vms {
		w.add(name(i), command.TypeDrain, fmt.Sprint("c-", i))
	}
	w.add("z", command.TypeDrain, "last")
	for path, want := range map[string]struct{ first, last int }{
		"/vms":                                  {0, 99},
		"/vms?limit=1":                          {0, 0},
		"/vms?limit=1000":                       {0, 999},
		"/vms?limit=7&after=" + name(10):        {11, 17},
		"/vms?state=offline&limit=2":            {0, 1},
		"/vms?match=*-00123*&limit=3":           {1230, 1232},
		"/unsettled?limit=5&match=*-00123*":     {1230, 1234},
		"/unsettled?state=queued":               {0, 99},
		"/unsettled?limit=2&after=1@" + name(4): {5, 6},
	} {
		_, body := w.request(http.MethodGet, path, "")
		var page struct {
			VMs, Commands []struct {
				VM string `json:"vm_id"`
			}
			More  bool
			After string
		}
		require.NoError(t, json.Unmarshal([]byte(body), &page), body)
		items := append(page.VMs, page.Commands...)
		require.Len(t, items, want.last-want.first+1, path)
		require.Equal(t, name(want.first), items[0].VM, path)
		require.Equal(t, name(want.last), items[len(items)-1].VM, path)
		require.True(t, page.More, path)
		require.True(t, strings.HasSuffix(page.After, name(want.last)), path)
	}
	for _, path := range []string{"/vms?after=" + name(vms-2), "/vms?match=*" + name(vms - 1)[90:] + "&after=" + name(vms-2), "/unsettled?after=1@" + name(vms-2)} {
		_, body := w.request(http.MethodGet, path, "")
		require.NotContains(t, body, "more")
		require.NotContains(t, body, "after")
		require.Contains(t, body, name(vms-1))
		require.NotContains(t, body, name(vms-2))
	}
	fleet, err := w.client.Fleet(t.Context())
	require.NoError(t, err)
	require.Len(t, fleet, vms+1)
	require.Equal(t, "z", fleet[vms].VM)
	for i, p := range fleet[:vms] {
		require.Equal(t, name(i), p.VM)
	}
	for path, says := range map[string]string{
		"/vms?limit=0": "limit", "/vms?limit=1001": "limit", "/unsettled?limit=x": "limit", "/vms?state=queued": "state", "/unsettled?state=online": "state", "/unsettled?after=vm": "after",
	} {
		status, body := w.request(http.MethodGet, path, "")
		require.Equal(t, http.StatusBadRequest, status)
		require.Contains(t, body, says, path)
	}
}

// A page of which the elements are large ends before its limit, and the next goes on there.
func TestPagesOfLargeElements(t *testing.T) {
	t.Parallel()
	w := large(t, admin.Options{})
	link, err := w.c.Dial(t.Context(), transport.Hello{VM: "vm-1", Instance: "i", Window: 1})
	require.NoError(t, err)
	defer link.Close()
	const commands = 150
	for i := range commands {
		id := fmt.Sprint("c-", i)
		w.add("vm-1", command.TypeDrain, id)
		require.NoError(t, link.Ack(t.Context(), ack.Ack{CommandID: id, Stage: ack.Progress, Attempt: 1, Result: json.RawMessage(`"` + strings.Repeat("r", ack.MaxResult-2) + `"`)}))
	}
	status, body := w.request(http.MethodGet, "/unsettled?limit=1000", "")
	require.Equal(t, http.StatusOK, status)
	require.LessOrEqual(t, len(body), maxAnswer)
	require.Greater(t, len(body), maxAnswer-2*ack.MaxResult, "and not emptier than it has to be")
	var got []admin.Status
	for q := (controller.Query{Limit: controller.MaxPage}); ; {
		page, err := w.client.Unsettled(t.Context(), q)
		require.NoError(t, err)
		got = append(got, page.Items...)
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	require.Len(t, got, commands)
	for i, s := range got {
		require.EqualValues(t, i+1, s.Seq)
	}
}

// What one may not read is in no page; of a fleet most of which one may not read a page may be empty and go on.
func TestPagesOfWhatOneMayNotRead(t *testing.T) {
	t.Parallel()
	w := large(t, admin.Options{Authenticator: byToken})
	for i := range 12_000 {
		w.add(fmt.Sprintf("vm-%05d", i), command.TypeDrain, fmt.Sprint("c-", i))
	}
	w.add("z", command.TypeDrain, "z-drain")
	w.add("z", command.TypeShutdown, "z-shutdown")
	fleet, err := w.as("read@z").Fleet(t.Context())
	require.NoError(t, err)
	require.Len(t, fleet, 1)
	vms, err := w.as("read@z").VMs(t.Context(), controller.Query{Limit: 1})
	require.NoError(t, err)
	require.Empty(t, vms.Items)
	require.Equal(t, "vm-09999", vms.Next)
	page, err := w.as("read:shutdown").Unsettled(t.Context(), controller.Query{})
	require.NoError(t, err)
	require.Empty(t, page.Items)
	require.Equal(t, "1@vm-09999", page.Next)
	page, err = w.as("read:shutdown").Unsettled(t.Context(), controller.Query{After: page.Next})
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	require.Equal(t, "z-shutdown", page.Items[0].ID)
	require.Empty(t, page.Next)
	for _, get := range []func() error{
		func() error { _, err := w.as("send").VMs(t.Context(), controller.Query{}); return err },
		func() error { _, err := w.as("settle").Unsettled(t.Context(), controller.Query{}); return err },
	} {
		require.ErrorIs(t, get(), transport.ErrForbidden)
	}
}

// stuck is a client that does not take its answer until it is let go.
type stuck struct {
	*httptest.ResponseRecorder
	release chan struct{}
}

func (s stuck) Write(p []byte) (int, error) {
	<-s.release
	return s.ResponseRecorder.Write(p)
}

// slow is a body that does not arrive until it is let go.
type slow struct {
	io.Reader
	release chan struct{}
}

func (s slow) Read(p []byte) (int, error) {
	<-s.release
	return s.Reader.Read(p)
}

// Pages that nobody takes, and bodies that do not arrive, are so many at a time, and of one operator half as many: the
// others go on. Whoever ends gives back what it has taken.
func TestSharesOfMemory(t *testing.T) {
	t.Parallel()
	drainOf := `{"vm_id":"vm-1","type":"drain"}`
	for name, test := range map[string]struct {
		method, path string
		each         int // how many one operator may have under way
		length       int64
		good         int
	}{
		"fleet":                            {http.MethodGet, "/vms", 2, 0, http.StatusOK},
		"unsettled":                        {http.MethodGet, "/unsettled", 2, 0, http.StatusOK},
		"commands":                         {http.MethodGet, "/vms/vm-1/commands", 2, 0, http.StatusOK},
		"bodies of a length unknown":       {http.MethodPost, "/commands", 16, -1, http.StatusCreated},
		"bodies that are said to be large": {http.MethodPost, "/commands", 16, 1 << 20, http.StatusCreated},
		"bodies of half of that":           {http.MethodPost, "/commands", 32, 1 << 19, http.StatusCreated},
		"bodies that are said to be more":  {http.MethodPost, "/commands", 16, 1 << 40, http.StatusCreated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := controller.New(memory.New(), controller.Options{})
				defer c.Close()
				h := admin.Handler(c, admin.Options{MaxPages: 4, Authenticator: admin.AuthenticatorFunc(
					func(_ context.Context, c transport.Credentials) (admin.Operator, error) {
						return admin.Operator{Name: c.Token, Grants: []admin.Grant{{Verb: admin.VerbRead}, {Verb: admin.VerbSend}}}, nil
					})})
				var asking sync.WaitGroup
				defer asking.Wait()
				ask := func(operator string, release chan struct{}) *httptest.ResponseRecorder {
					w := httptest.NewRecorder()
					r := httptest.NewRequestWithContext(t.Context(), test.method, test.path, http.NoBody)
					r.Host = "localhost"
					if test.method == http.MethodPost {
						r.Body, r.ContentLength = io.NopCloser(slow{strings.NewReader(drainOf), release}), test.length
						r.Header.Set("Content-Type", "application/json")
					}
					r.Header.Set("Authorization", "Bearer "+operator)
					h.ServeHTTP(stuck{w, release}, r)
					return w
				}
				held := make(chan struct{})
				hold := func(operator string) {
					for range test.each {
						asking.Go(func() {
							if w := ask(operator, held); w.Code != test.good {
								t.Errorf("%d: %s", w.Code, w.Body)
							}
						})
					}
					synctest.Wait()
				}
				free := make(chan struct{})
				close(free)
				refused := func(operator string) {
					w := ask(operator, free)
					require.Equal(t, http.StatusTooManyRequests, w.Code)
					require.Equal(t, "1", w.Header().Get("Retry-After"))
				}
				hold("ann")
				refused("ann")
				require.Equal(t, test.good, ask("bob", free).Code, "it has its own half")
				hold("bob")
				refused("bob")
				refused("eve")
				close(held)
				asking.Wait()
				for _, operator := range []string{"ann", "bob", "eve"} {
					require.Equal(t, test.good, ask(operator, free).Code)
				}
			})
		})
	}
}

// What could not be read gives back its place, too.
func TestSharesAfterAnError(t *testing.T) {
	t.Parallel()
	l := memory.New()
	c := controller.New(l, controller.Options{})
	defer c.Close()
	server := httptest.NewServer(http.StripPrefix("/admin", admin.Handler(c, admin.Options{MaxPages: 1})))
	defer server.Close()
	client, err := admin.NewClient(server.URL+"/admin", transport.Config{})
	require.NoError(t, err)
	require.NoError(t, l.Close())
	for range 3 {
		_, err = client.List(t.Context(), "vm-1", 0, 1)
		require.ErrorIs(t, err, transport.ErrUnavailable)
		_, err = client.Fleet(t.Context())
		require.ErrorIs(t, err, transport.ErrUnavailable)
		_, err = client.Unsettled(t.Context(), controller.Query{})
		require.ErrorIs(t, err, transport.ErrUnavailable)
	}
}
