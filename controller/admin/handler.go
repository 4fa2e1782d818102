package admin

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/transport"
)

const (
	maxBody     = 1 << 20
	maxWait     = 60 * time.Second
	maxList     = 1000
	defaultList = 100
)

// Options are optional.
type Options struct {
	// Authenticator says who an operator is, and what that one may do. Default: everybody may do everything, so do
	// not serve it where others can reach it.
	Authenticator Authenticator
	// Audit keeps a record of each request. A send or a cancel that it cannot keep is refused, a request that only
	// reads is answered all the same. Default: none.
	Audit Audit
	// Redact is how parameters are shown in the audit. Default: command.Redact, which keeps the names of fields alone
	// of types that it does not know. For types of one's own: command.SecretsOf(T{}).Redact.
	Redact func(command.Type, command.Parameters) command.Parameters
	// MaxWatches and MaxWaits bound how many requests may watch, and wait for a command, at a time; more are refused
	// as rate_limited. Defaults: 100 and 1,000.
	MaxWatches, MaxWaits int
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Handler serves c; mount it under any prefix with http.StripPrefix.
func Handler(c *controller.Controller, o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Redact == nil {
		o.Redact = command.Redact
	}
	if o.MaxWatches <= 0 {
		o.MaxWatches = 100
	}
	if o.MaxWaits <= 0 {
		o.MaxWaits = 1000
	}
	h := &handler{c: c, o: o, watches: newPlaces("watches", o.MaxWatches), waits: newPlaces("waits", o.MaxWaits)}
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.Handle(r.pattern, h.serve(r))
	}
	return httplink.Serve(mux)
}

type handler struct {
	c              *controller.Controller
	o              Options
	watches, waits places

	refusedMu sync.Mutex
	refused   refusals
}

// route is an endpoint. It is given a desk and no controller, so there is none without a grant.
type route struct {
	pattern string
	action  Action
	do      func(d *desk, w http.ResponseWriter, r *http.Request) error
}

var routes = []route{
	{"POST /commands", ActionSend, send},
	{"GET /commands/{id}", ActionGet, get},
	{"POST /commands/{id}/cancel", ActionCancel, cancel},
	{"GET /vms", ActionFleet, fleet},
	{"GET /vms/{vm_id}", ActionVM, vm},
	{"GET /vms/{vm_id}/commands", ActionList, list},
	{"GET /watch", ActionWatch, watch},
}

func (h *handler) serve(to route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.answer(to, w, r); err != nil {
			if errors.Is(err, transport.ErrInternal) {
				h.o.Log.Error("request failed", "component", "admin", "action", to.action, "error", err)
			}
			httplink.WriteError(w, err)
		}
	})
}

func (h *handler) answer(to route, w http.ResponseWriter, r *http.Request) error {
	d := &desk{h: h, remote: r.RemoteAddr, action: to.action}
	op, told, cause := authenticate(r.Context(), h.o.Authenticator, httplink.Credentials(r))
	if told != nil {
		h.refuse(d, r, told, cause)
		return told
	}
	d.op = op
	ctx, cancel := transport.Grant{Expires: op.Expires}.Context(r.Context())
	defer cancel()
	err := to.do(d, w, r.WithContext(ctx))
	if err != nil && !d.recorded { // it did not come so far
		_ = d.record(ctx, Record{}, err)
	}
	return err
}

// refuse notes that somebody has shown no good credentials.
func (h *handler) refuse(d *desk, r *http.Request, told *transport.Error, cause error) {
	h.refusedMu.Lock()
	missed, ok := h.refused.take(time.Now())
	h.refusedMu.Unlock()
	if ok {
		h.o.Log.Warn("refused", "component", "admin", "action", d.action, "remote", d.remote, "code", told.Code, "missed", missed, "error", cause)
		_ = d.record(r.Context(), Record{Missed: missed}, denial{told})
	}
}

func decode(w http.ResponseWriter, r *http.Request, v any) error {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(v)
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*http.MaxBytesError)):
		return transport.Errorf(transport.CodeTooLarge, "the body is larger than %d bytes", maxBody)
	}
	return transport.Errorf(transport.CodeInvalid, "the body is not JSON of the documented form")
}

func send(d *desk, w http.ResponseWriter, r *http.Request) error {
	var s Send
	if err := decode(w, r, &s); err != nil {
		return err
	}
	cmd, err := s.Command()
	if err != nil {
		code := transport.CodeInvalid
		if errors.Is(err, command.ErrTooLarge) {
			code = transport.CodeTooLarge
		}
		return transport.Errorf(code, "%s", err)
	}
	status, err := d.Send(r.Context(), s.VM, cmd)
	if err != nil {
		return err
	}
	code := http.StatusCreated
	if !*status.Created {
		code = http.StatusOK
	}
	httplink.WriteJSON(w, code, status)
	return nil
}

func get(d *desk, w http.ResponseWriter, r *http.Request) (err error) {
	var status Status
	if s := r.URL.Query().Get("wait"); s == "" {
		status, err = d.Get(r.Context(), r.PathValue("id"))
	} else {
		wait, bad := time.ParseDuration(s)
		if bad != nil || wait <= 0 {
			return transport.Errorf(transport.CodeInvalid, "wait is not a duration like 30s")
		}
		status, err = d.Wait(r.Context(), r.PathValue("id"), min(wait, maxWait))
	}
	if err == nil {
		httplink.WriteJSON(w, http.StatusOK, status)
	}
	return err
}

func cancel(d *desk, w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Reason string `json:"reason"`
	}
	if err := decode(w, r, &body); err != nil {
		return err
	}
	status, err := d.Cancel(r.Context(), r.PathValue("id"), body.Reason)
	if err == nil {
		httplink.WriteJSON(w, http.StatusOK, status)
	}
	return err
}

func fleet(d *desk, w http.ResponseWriter, r *http.Request) error {
	fleet, err := d.Fleet(r.Context())
	if err == nil {
		httplink.WriteJSON(w, http.StatusOK, map[string]any{"vms": fleet})
	}
	return err
}

func vm(d *desk, w http.ResponseWriter, r *http.Request) error {
	p, err := d.VM(r.Context(), r.PathValue("vm_id"))
	if err == nil {
		httplink.WriteJSON(w, http.StatusOK, p)
	}
	return err
}

func list(d *desk, w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	limit, before := defaultList, uint64(0)
	var err error
	if s := q.Get("limit"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > maxList {
			return transport.Errorf(transport.CodeInvalid, "limit is not a number from 1 to %d", maxList)
		}
	}
	if s := q.Get("before"); s != "" {
		if before, err = strconv.ParseUint(s, 10, 64); err != nil {
			return transport.Errorf(transport.CodeInvalid, "before is not a number")
		}
	}
	list, err := d.List(r.Context(), r.PathValue("vm_id"), before, limit)
	if err == nil {
		httplink.WriteJSON(w, http.StatusOK, map[string]any{"commands": list})
	}
	return err
}
