package admin

import (
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/peerlog"
	"github.com/miglink/miglink/internal/printable"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/internal/strict"
	"github.com/miglink/miglink/transport"
)

const (
	maxWait     = 60 * time.Second
	maxList     = 1000
	defaultList = 100
	maxShown    = 100 // bytes of a header that an error repeats

	// maxBodies bounds how many bytes of bodies are read and used at a time, and half of it those of one operator.
	maxBodies = 32 << 20
)

// Options are optional.
type Options struct {
	// Authenticator says who an operator is, and what that one may do. Default: everybody may do everything, so do
	// not serve it where others can reach it.
	Authenticator Authenticator
	// Hosts are names that requests may be for besides IP addresses and localhost, where there is no Authenticator: it
	// keeps pages away that a browser on a machine nearby shows. "*" is any. Default: none.
	Hosts []string
	// Audit keeps a record of each request. One that changes something and that it cannot keep is refused, one that only
	// reads is answered all the same. Default: none.
	Audit Audit
	// Redact is how parameters are shown in the audit. Default: command.Redact: types of one's own are declared, by
	// command.Declare, and of others no more than the names of parameters is shown.
	Redact func(command.Type, command.Parameters) command.Parameters
	// MaxWatches and MaxWaits bound how many requests may watch, and wait for a command, at a time, and half of each those
	// of one operator; more are refused as rate_limited. Defaults: 100 and 1,000.
	MaxWatches, MaxWaits int
	// MaxPages bounds how many pages of VMs and of commands, of up to 4 MiB each, are made and sent at a time, and
	// half of it how many for one operator; more are refused as rate_limited. Default: 16.
	MaxPages int
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
	if o.MaxPages <= 0 {
		o.MaxPages = 16
	}
	h := &handler{
		c: c, o: o, log: peerlog.New(o.Log),
		watches: newShares("watches", int64(o.MaxWatches), 1), waits: newShares("waits", int64(o.MaxWaits), 1),
		pages: newShares("pages of lists", int64(o.MaxPages), 1), bodies: newShares("bytes of bodies", maxBodies, httplink.MaxBody),
	}
	var mux httplink.Mux
	for _, r := range routes {
		mux.Handle(r.pattern, h.serve(r))
	}
	return mux.Handler(httplink.Guard{Asked: o.Authenticator != nil, Hosts: o.Hosts})
}

type handler struct {
	c              *controller.Controller
	o              Options
	watches, waits *shares
	pages, bodies  *shares
	quota          quota
	log            *peerlog.Log
}

// route is an endpoint. It is given a desk and no controller, so there is none without a grant.
type route struct {
	pattern string
	query   string // the parameters that its query may have; others are refused, and so is one that is there twice
	action  Action
	do      func(d *desk, w http.ResponseWriter, r *http.Request) error
}

var routes = []route{
	{"POST /commands", "", ActionSend, send},
	{"GET /commands/{id}", "wait", ActionGet, get},
	{"POST /commands/{id}/cancel", "", ActionCancel, cancel},
	{"POST /commands/{id}/settle", "", ActionSettle, settle},
	{"GET /unsettled", queries, ActionUnsettled, listUnsettled},
	{"GET /vms", queries, ActionFleet, listVMs},
	{"GET /vms/{vm_id}", "", ActionVM, vm},
	{"POST /vms/{vm_id}/forget", "", ActionForget, forget},
	{"GET /vms/{vm_id}/commands", "before limit", ActionList, list},
	{"GET /watch", "vm_id", ActionWatch, watch},
}

func (h *handler) serve(to route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.answer(to, w, r); err != nil {
			if errors.Is(err, transport.ErrInternal) {
				h.log.Write(r.Context(), slog.LevelError, "request failed", "", slog.String("component", "admin"), slog.String("action", string(to.action)), slog.Any("error", err))
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
	err := checkQuery(r.URL.RawQuery, strings.Fields(to.query))
	if err == nil {
		err = to.do(d, w, r.WithContext(ctx))
	}
	if err != nil && !d.recorded { // it did not come so far
		_ = d.record(ctx, Record{}, err)
	}
	return err
}

// checkQuery refuses parameters of a query that would be ignored: who asks for a watch of one VM, by a name that is not
// known, would get that of all.
func checkQuery(query string, known []string) error {
	q, err := url.ParseQuery(query)
	if err != nil {
		return transport.Errorf(transport.CodeInvalid, "the query of the URL does not parse: write %%, & and ; in a value as %%25, %%26 and %%3B")
	}
	for name, values := range q {
		if !slices.Contains(known, name) {
			return transport.Errorf(transport.CodeInvalid, "the query: %s", strict.Unknown("parameter", name, known))
		}
		if len(values) > 1 {
			return transport.Errorf(transport.CodeInvalid, "the query: %s is there twice", name)
		}
	}
	return nil
}

// refuse notes that somebody has shown no good credentials.
func (h *handler) refuse(d *desk, r *http.Request, told *transport.Error, cause error) {
	d.anonymous = true
	if panicked := (*safely.Panic)(nil); errors.As(cause, &panicked) {
		h.log.Panicked(r.Context(), "", panicked)
	}
	h.log.Write(r.Context(), slog.LevelWarn, "refused", "", slog.String("component", "admin"), slog.String("action", string(d.action)),
		slog.String("remote", d.remote), slog.String("code", string(told.Code)), slog.Any("error", cause))
	_ = d.record(r.Context(), Record{}, denial{told})
}

// decode reads the body of a request as JSON, and refuses what it would have to ignore. Its room is taken before it is read; whoever has got it calls done once
// nothing of it is used any more.
func (d *desk) decode(w http.ResponseWriter, r *http.Request, v any) (done func(), err error) {
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, httplink.WithStatus(http.StatusUnsupportedMediaType, transport.Errorf(transport.CodeInvalid,
			"the Content-Type is %q, and has to be application/json: with curl, send the body by --json", printable.Cut(r.Header.Get("Content-Type"), maxShown)))
	}
	room := int64(httplink.MaxBody) // of a body whose length is not said, and of one that is said to be too large
	if r.ContentLength >= 0 {
		room = min(r.ContentLength, room)
	}
	if done, err = d.h.bodies.take(d.op.Name, room); err != nil {
		return nil, err
	}
	body, err := httplink.ReadBody(w, r)
	if err == nil {
		if bad := strict.Unmarshal(body, v); bad != nil {
			err = transport.Errorf(transport.CodeInvalid, "the body: %s", bad)
		}
	}
	if err != nil {
		done()
	}
	return done, err
}

// isJSON reports whether a body is said to be JSON. A browser sends what a page says to be JSON elsewhere only after it
// has asked for permission, which nobody is given here.
func isJSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "application/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json"))
}

func send(d *desk, w http.ResponseWriter, r *http.Request) error {
	var s Send
	done, err := d.decode(w, r, &s)
	if err != nil {
		return err
	}
	defer done()
	cmd, err := s.Command()
	if err != nil {
		code := transport.CodeInvalid
		if errors.Is(err, command.ErrTooLarge) {
			code = transport.CodeTooLarge
		}
		return transport.Errorf(code, "%s", err)
	}
	status, err := d.Send(r.Context(), s.VM, cmd, s.ID != "")
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

func get(d *desk, w http.ResponseWriter, r *http.Request) error {
	var status Status
	id, err := httplink.PathValue(r, "id")
	if err != nil {
		return err
	}
	if s := r.URL.Query().Get("wait"); s == "" {
		status, err = d.Get(r.Context(), id)
	} else {
		wait, bad := time.ParseDuration(s)
		if bad != nil || wait <= 0 {
			return transport.Errorf(transport.CodeInvalid, "wait is not a duration like 30s")
		}
		status, err = d.Wait(r.Context(), id, min(wait, maxWait))
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
	id, err := httplink.PathValue(r, "id")
	if err != nil {
		return err
	}
	done, err := d.decode(w, r, &body)
	if err != nil {
		return err
	}
	defer done()
	status, err := d.Cancel(r.Context(), id, body.Reason)
	if err == nil {
		httplink.WriteJSON(w, http.StatusOK, status)
	}
	return err
}

func vm(d *desk, w http.ResponseWriter, r *http.Request) error {
	name, err := httplink.PathValue(r, "vm_id")
	if err != nil {
		return err
	}
	p, err := d.VM(r.Context(), name)
	if err == nil {
		httplink.WriteJSON(w, http.StatusOK, p)
	}
	return err
}

func list(d *desk, w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	name, err := httplink.PathValue(r, "vm_id")
	if err != nil {
		return err
	}
	l := listing{vm: name, limit: defaultList}
	if s := q.Get("limit"); s != "" {
		if l.limit, err = strconv.Atoi(s); err != nil || l.limit < 1 || l.limit > maxList {
			return transport.Errorf(transport.CodeInvalid, "limit is not a number from 1 to %d", maxList)
		}
	}
	if s := q.Get("before"); s != "" {
		if l.before, err = strconv.ParseUint(s, 10, 64); err != nil {
			return transport.Errorf(transport.CodeInvalid, "before is not a number")
		}
	}
	p, done, err := d.List(r.Context(), &l)
	if err != nil {
		return err
	}
	defer done()
	before := ""
	if l.more {
		before = `"before":` + strconv.FormatUint(l.before, 10)
	}
	p.write(w, "commands", before)
	return nil
}
