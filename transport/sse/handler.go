package sse

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/miglink/miglink/internal/door"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

const (
	defaultKeepalive = 15 * time.Second // proxies cut streams off that are silent for 30 s and more
	writeTimeout     = 15 * time.Second
	maxAge           = 10 * time.Minute // of a stream whose client makes no promise to be heard of
)

// HandlerOptions are optional.
type HandlerOptions struct {
	// Authenticator lets a VM's requests pass, or says why not. Default: everybody passes.
	Authenticator transport.Authenticator
	// Keepalive is the longest silence of a stream. Default: 15 s.
	Keepalive time.Duration
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Handler answers GET …/vms/{vm_id}/commands/stream, where vm_id is the request's path value. Each
// stream is a link of t.
func Handler(t transport.Transport, o HandlerOptions) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Keepalive == 0 {
		o.Keepalive = defaultKeepalive
	}
	h := &handler{t: t, keepalive: o.Keepalive, log: o.Log.With("component", "sse")}
	h.door = door.New(o.Authenticator, h.log)
	return http.HandlerFunc(h.serve)
}

type handler struct {
	t    transport.Transport
	door door.Door
	log  *slog.Logger

	keepalive time.Duration
}

var (
	typeCommand = sse.Type("command")
	typeClose   = sse.Type("close")
)

func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	hello, grant, link, err := h.open(r)
	if err != nil {
		httplink.WriteError(w, err)
		return
	}
	defer link.Close()
	session, err := sse.Upgrade(w, r)
	if err != nil {
		httplink.WriteError(w, transport.Errorf(transport.CodeProtocol, "the server cannot stream"))
		return
	}
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
	s := &stream{session: session, deadline: http.NewResponseController(w), keepalive: h.keepalive}
	ctx, cancel := grant.Context(r.Context())
	defer cancel()
	if hello.Alive == 0 {
		age := maxAge/2 + rand.N(maxAge/2)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, age, transport.Errorf(transport.CodeMoved, "the stream has reached its age; open another"))
		defer cancel()
	}
	err = s.run(ctx, link)
	var said *transport.Error
	switch {
	case r.Context().Err() != nil: // the client is gone
	case errors.As(err, &said):
		_ = s.close(said) // the end of the stream says enough to who cannot read why
	default:
		h.log.Info("stream ended", "vm_id", hello.VM, "error", err)
	}
}

func (h *handler) open(r *http.Request) (transport.Hello, transport.Grant, transport.Link, error) {
	hello, err := httplink.Hello(r)
	if err != nil {
		return hello, transport.Grant{}, nil, err
	}
	grant, err := h.door.Enter(r.Context(), hello.VM, httplink.Credentials(r))
	if err != nil {
		return hello, grant, nil, err
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" && len(id) <= transport.MaxCursor {
		hello.After = transport.Cursor(id)
	}
	hello.AddHop("sse")
	link, err := h.t.Dial(r.Context(), hello)
	return hello, grant, link, err
}

// stream writes one response. Each write has a deadline of its own, which also overrides the
// server's WriteTimeout.
type stream struct {
	session   *sse.Session
	deadline  *http.ResponseController
	keepalive time.Duration
}

// run sends commands as they are due, and a comment where there are none for a while.
func (s *stream) run(ctx context.Context, link transport.Link) error {
	if err := s.comment("miglink"); err != nil { // tells the client that nothing in between buffers
		return err
	}
	for {
		wait, cancel := context.WithTimeout(ctx, s.keepalive)
		page, err := link.Receive(wait)
		cancel()
		switch {
		case err == nil:
			err = s.commands(page)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, context.DeadlineExceeded):
			err = s.comment("keepalive") // an empty one would not be sent
		}
		if err != nil {
			return err
		}
	}
}

func (s *stream) commands(page []transport.Delivery) error {
	messages := make([]*sse.Message, len(page))
	for i := range page {
		data, err := wire.Delivery(nil, &page[i])
		if err != nil {
			return err
		}
		id, err := sse.NewID(string(page[i].Cursor))
		if err != nil {
			return err
		}
		messages[i] = &sse.Message{ID: id, Type: typeCommand}
		messages[i].AppendData(string(data))
	}
	return s.send(messages...)
}

func (s *stream) comment(text string) error {
	m := &sse.Message{}
	m.AppendComment(text)
	return s.send(m)
}

// closing is the data of a close event.
type closing struct {
	Code       transport.Code `json:"code"`
	Message    string         `json:"message,omitempty"`
	RetryAfter float64        `json:"retry_after,omitempty"` // seconds
}

func (s *stream) close(e *transport.Error) error {
	data, err := wirejson.Marshal(closing{e.Code, e.Message, e.RetryAfter.Seconds()})
	if err != nil {
		return err
	}
	m := &sse.Message{Type: typeClose}
	m.AppendData(string(data))
	return s.send(m)
}

func (s *stream) send(messages ...*sse.Message) error {
	_ = s.deadline.SetWriteDeadline(time.Now().Add(writeTimeout)) // not all can
	defer s.deadline.SetWriteDeadline(time.Time{})                //nolint:errcheck // or HTTP/2 would end an idle stream
	for _, m := range messages {
		if err := s.session.Send(m); err != nil {
			return err
		}
	}
	return s.session.Flush()
}
