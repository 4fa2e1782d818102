package admin_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// disk counts what an audit and a log take of it.
type disk struct {
	records []admin.Record
	audit   int // bytes of records as lines
	log     bytes.Buffer
	handler http.Handler
}

// newDisk serves a controller in a bubble of fake time.
func newDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{}
	c := controller.New(memory.New(), controller.Options{})
	t.Cleanup(func() { c.Close() })
	d.handler = admin.Handler(c, admin.Options{
		Authenticator: byToken, Log: slog.New(slog.NewTextHandler(&d.log, nil)),
		Audit: admin.AuditFunc(func(_ context.Context, r admin.Record) error {
			line, err := wirejson.Marshal(r)
			d.records, d.audit = append(d.records, r), d.audit+len(line)+1
			return err
		}),
	})
	return d
}

// ask makes a request and returns the status of its answer.
func (d *disk) ask(t *testing.T, method, target, token, body string) int {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	r.Host = "localhost"
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	return w.Code
}

// What a stranger, and somebody with the token of an operator, can have written to the disk by doing his worst, 100
// requests a second. Of log lines there are 20 at once and one more each second, of at most 2 KiB.
func TestWhatOthersCanHaveWritten(t *testing.T) {
	t.Parallel()
	const perSecond, seconds = 100, 10
	long := strings.Repeat("%00", 3000) // of what is escaped to six bytes each
	for name, test := range map[string]struct {
		token, method, target, body string
		lines, auditBytes           int // a second, at most
		logs                        bool
	}{
		"a stranger":                         {"", "GET", "/vms", "", 1, 200, true},
		"a stranger's token":                 {"x" + strings.Repeat("y", 5000), "GET", "/vms", "", 1, 200, true},
		"an operator who reads":              {"read", "GET", "/vms", "", 10, 10 * 200, false},
		"an operator of what is not there":   {"read", "GET", "/commands/" + long, "", 10, 10 << 10, false},
		"an operator of a VM of a long name": {"read@x", "GET", "/vms/" + long, "", 10, 10 << 10, false},
		"an operator who may not send":       {"read", "POST", "/commands", `{"vm_id":"vm-1","type":"drain"}`, 10, 10 * 400, false},
		"an operator who may not send much":  {"read", "POST", "/commands", `{"vm_id":"vm-1","type":"own","parameters":{"` + strings.Repeat("a", 15<<10) + `":1}}`, 10, 10 * 400, false},
		"an operator whose body is nothing":  {"send", "POST", "/commands", `{`, 10, 10 * 200, false},
		"an operator of a long name":         {"read@" + strings.Repeat("v", 120) + " read@" + strings.Repeat("w", 120), "GET", "/vms", "", 10, 10 * 400, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDisk(t)
				for range seconds {
					for range perSecond {
						d.ask(t, test.method, test.target, test.token, test.body)
					}
					time.Sleep(time.Second)
				}
				require.Len(t, d.records, test.lines*seconds)
				require.LessOrEqual(t, d.audit/seconds, test.auditBytes)
				if test.logs {
					require.LessOrEqual(t, d.log.Len(), (20+seconds)*(2<<10+200))
				} else {
					require.Empty(t, d.log.String())
				}
				missed := 0
				for _, r := range d.records {
					missed += r.Missed
				}
				require.Equal(t, (perSecond-test.lines)*(seconds-1), missed, "what was left out is counted, but for the last second")
				t.Logf("a second: %d requests, %d bytes of audit, %d of log", perSecond, d.audit/seconds, d.log.Len()/seconds)
			})
		})
	}
}

// One operator's flood takes nothing of what is recorded of others, and what changes something is always recorded.
func TestQuotaIsEachOperatorsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		for range 100 {
			require.Equal(t, http.StatusOK, d.ask(t, "GET", "/vms", "read", ""))
			require.Equal(t, http.StatusUnauthorized, d.ask(t, "GET", "/vms", "", ""))
		}
		require.Len(t, d.records, 11)
		d.records = nil
		require.Equal(t, http.StatusOK, d.ask(t, "GET", "/vms", "read@vm-1", ""))
		require.Len(t, d.records, 1)
		require.Zero(t, d.records[0].Missed)

		d.records = nil
		for i := range 100 {
			body := fmt.Sprintf(`{"vm_id":"vm-1","type":"drain","id":"c-%d"}`, i)
			require.Equal(t, http.StatusCreated, d.ask(t, "POST", "/commands", "read send", body))
			require.Equal(t, http.StatusOK, d.ask(t, "POST", fmt.Sprintf("/commands/c-%d/cancel", i), "read send", `{}`))
		}
		require.Len(t, d.records, 200)
		for _, r := range d.records {
			require.Equal(t, admin.Allowed, r.Decision)
		}

		// Many operators are counted one by one for as long as there is something to count.
		d.records = nil
		for i := range 3000 {
			d.ask(t, "GET", "/vms", fmt.Sprint("read@vm-", i), "")
			if i%1000 == 999 {
				time.Sleep(time.Second)
			}
		}
		require.Greater(t, len(d.records), 2900)
	})
}

// What an operator may send, and changes nothing, is recorded before that is known. Saying it again and again does not fill
// the disk, and keeps no other operator from sending.
func TestRecordsInVain(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 16<<10-100)
	known := `{"vm_id":"vm-1","type":"update_config","id":"0192f0c4-d2a7-7c1e-9f3b-8a6d5e4c0001","parameters":{"config_key":"` + large[:100] + `","config_value":"` + large[:15<<10] + `"}}`
	for name, test := range map[string]struct{ target, body string }{
		"a send that is known":           {"/commands", known},
		"an ID of another content":       {"/commands", strings.Replace(known, "xx", "yy", 1)},
		"a cancel that was asked before": {"/commands/c-1/cancel", `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDisk(t)
				require.Equal(t, http.StatusCreated, d.ask(t, "POST", "/commands", "send read", known))
				require.Equal(t, http.StatusCreated, d.ask(t, "POST", "/commands", "send read", `{"vm_id":"vm-1","type":"drain","id":"c-1"}`))
				const most = 40 << 20 / 512 // more than it takes
				status, asked := 0, 0
				for ; status != http.StatusTooManyRequests && asked < most; asked++ {
					status = d.ask(t, "POST", test.target, "send", test.body)
				}
				require.Equal(t, http.StatusTooManyRequests, status, "after %d", asked)
				require.Less(t, d.audit, 17<<20)
				before := d.audit
				for range 100 { // a second each
					for range 10 {
						d.ask(t, "POST", test.target, "send", test.body)
					}
					time.Sleep(time.Second)
				}
				require.Less(t, (d.audit-before)/100, 8<<10+10*600)
				require.Equal(t, http.StatusCreated, d.ask(t, "POST", "/commands", "send read", `{"vm_id":"vm-2","type":"drain"}`))
			})
		})
	}
}

// Every text of a record is bounded, whatever an authenticator says.
func TestRecordsAreBounded(t *testing.T) {
	t.Parallel()
	a := &recorder{}
	w := newWorld(t, admin.Options{Audit: a, Authenticator: admin.AuthenticatorFunc(func(context.Context, transport.Credentials) (admin.Operator, error) {
		return admin.Operator{Name: strings.Repeat("ä", 5000), Grants: []admin.Grant{{Verb: admin.VerbSend}, {Verb: admin.VerbRead}}}, nil
	})})
	_, err := w.client.Send(t.Context(), send("vm-1", command.TypeDrain, "c-1"))
	require.NoError(t, err)
	_, err = w.client.Get(t.Context(), strings.Repeat("ö", 5000))
	require.ErrorIs(t, err, transport.ErrUnknownCommand)
	_, err = w.client.List(t.Context(), strings.Repeat("ü", 5000), 0, 1)
	require.NoError(t, err)
	for _, line := range a.take(t) {
		require.Less(t, len(line), 600, line)
		require.NotContains(t, line, "\ufffd")
	}
}
