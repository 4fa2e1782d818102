package admin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

const (
	maxBody      = 1 << 20
	maxWait      = 60 * time.Second
	maxList      = 1000
	defaultList  = 100
	keepalive    = 15 * time.Second
	writeTimeout = 15 * time.Second
)

// Options are optional.
type Options struct {
	// Authenticate lets a request pass, or says why not. Default: everybody passes, so do not serve
	// it where others can reach it.
	Authenticate func(r *http.Request) error
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Handler serves c; mount it under any prefix with http.StripPrefix.
func Handler(c *controller.Controller, o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &handler{c: c, o: o}
	mux := http.NewServeMux()
	mux.Handle("POST /commands", h.serve(h.send))
	mux.Handle("GET /commands/{id}", h.serve(h.get))
	mux.Handle("POST /commands/{id}/cancel", h.serve(h.cancel))
	mux.Handle("GET /vms", h.serve(h.fleet))
	mux.Handle("GET /vms/{vm_id}", h.serve(h.vm))
	mux.Handle("GET /vms/{vm_id}/commands", h.serve(h.list))
	mux.Handle("GET /watch", h.serve(h.watch))
	return mux
}

type handler struct {
	c *controller.Controller
	o Options
}

func (h *handler) serve(do func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		if h.o.Authenticate != nil {
			if err = h.o.Authenticate(r); err != nil && !errors.As(err, new(*transport.Error)) {
				err = transport.Errorf(transport.CodeUnauthorized, "not with these credentials")
			}
		}
		if err == nil {
			err = do(w, r)
		}
		if err != nil {
			if errors.Is(err, transport.ErrInternal) {
				h.o.Log.Error("request failed", "component", "admin", "error", err)
			}
			httplink.WriteError(w, err)
		}
	})
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

func (h *handler) send(w http.ResponseWriter, r *http.Request) error {
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
	receipt, err := h.c.Send(r.Context(), s.VM, cmd)
	if err != nil {
		return err
	}
	e, err := h.c.Get(r.Context(), receipt.ID())
	if err != nil {
		return err
	}
	status, code, created := StatusOf(e), http.StatusCreated, receipt.Created()
	status.Created = &created
	if !created {
		code = http.StatusOK
	}
	httplink.WriteJSON(w, code, status)
	return nil
}

func (h *handler) get(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	s := r.URL.Query().Get("wait")
	if s == "" {
		e, err := h.c.Get(r.Context(), id)
		if err != nil {
			return err
		}
		httplink.WriteJSON(w, http.StatusOK, StatusOf(e))
		return nil
	}
	wait, err := time.ParseDuration(s)
	if err != nil || wait <= 0 {
		return transport.Errorf(transport.CodeInvalid, "wait is not a duration like 30s")
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(wait, maxWait))
	defer cancel()
	e, err := h.c.Receipt(id).Wait(ctx)
	if err != nil && ctx.Err() == nil {
		return err
	}
	httplink.WriteJSON(w, http.StatusOK, StatusOf(e))
	return nil
}

func (h *handler) cancel(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Reason string `json:"reason"`
	}
	if err := decode(w, r, &body); err != nil {
		return err
	}
	e, err := h.c.Cancel(r.Context(), r.PathValue("id"), body.Reason)
	if err != nil {
		return err
	}
	httplink.WriteJSON(w, http.StatusOK, StatusOf(e))
	return nil
}

func (h *handler) fleet(w http.ResponseWriter, r *http.Request) error {
	fleet, err := h.c.Fleet(r.Context())
	if err != nil {
		return err
	}
	httplink.WriteJSON(w, http.StatusOK, map[string]any{"vms": fleet})
	return nil
}

func (h *handler) vm(w http.ResponseWriter, r *http.Request) error {
	p, ok := h.c.Presence(r.PathValue("vm_id"))
	if !ok {
		return transport.Errorf(transport.CodeUnknownCommand, "nothing was heard of this VM")
	}
	httplink.WriteJSON(w, http.StatusOK, p)
	return nil
}

func (h *handler) list(w http.ResponseWriter, r *http.Request) error {
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
	entries, err := h.c.List(r.Context(), r.PathValue("vm_id"), before, limit)
	if err != nil {
		return err
	}
	list := make([]Status, len(entries))
	for i, e := range entries {
		list[i] = StatusOf(e)
	}
	httplink.WriteJSON(w, http.StatusOK, map[string]any{"commands": list})
	return nil
}

// Notice is a controller.Notice with a Status in place of the entry.
type Notice struct {
	controller.Notice
	Command *Status `json:"command,omitempty"`
}

func (h *handler) watch(w http.ResponseWriter, r *http.Request) error {
	session, err := sse.Upgrade(w, r)
	if err != nil {
		return transport.Errorf(transport.CodeProtocol, "the server cannot stream")
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	deadline := http.NewResponseController(w)
	send := func(m *sse.Message) error {
		_ = deadline.SetWriteDeadline(time.Now().Add(writeTimeout)) // not all can
		defer deadline.SetWriteDeadline(time.Time{})                //nolint:errcheck // or HTTP/2 would end an idle stream
		return errors.Join(session.Send(m), session.Flush())
	}
	comment := &sse.Message{}
	comment.AppendComment("miglink")
	vm := r.URL.Query().Get("vm_id")
	notices := h.c.Watch(r.Context())
	alive := time.NewTicker(keepalive)
	defer alive.Stop()
	err = send(comment)
	for err == nil {
		select {
		case <-alive.C:
			err = send(comment)
		case n, ok := <-notices:
			if !ok {
				return nil
			}
			if vm != "" && n.VM != vm && n.Kind != controller.NoticeLost {
				continue
			}
			err = send(message(n))
		}
	}
	return nil // the client is gone
}

func message(n controller.Notice) *sse.Message {
	out := Notice{Notice: n}
	if n.Entry != nil {
		s := StatusOf(*n.Entry)
		out.Entry, out.Command = nil, &s
	}
	m := &sse.Message{Type: sse.Type(string(n.Kind))}
	data, err := wirejson.Marshal(out)
	if err != nil { // an event's metadata is the sender's own, and may be no JSON
		data = []byte("{}")
	}
	m.AppendData(string(data))
	return m
}
