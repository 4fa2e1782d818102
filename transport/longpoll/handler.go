package longpoll

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/miglink/miglink/internal/door"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/transport"
)

const (
	maxWait      = 60 * time.Second
	atOnce       = 100 * time.Millisecond // for a poll without wait; a relay needs a round trip
	writeTimeout = 30 * time.Second
)

// HandlerOptions are optional.
type HandlerOptions struct {
	// Authenticator lets a VM's requests pass, or says why not. Default: everybody passes.
	Authenticator transport.Authenticator
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Handler answers GET …/vms/{vm_id}/commands, where vm_id is the request's path value. Each poll is a
// link of t.
func Handler(t transport.Transport, o HandlerOptions) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &handler{t: t, log: o.Log.With("component", "longpoll")}
	h.door = door.New(o.Authenticator, h.log)
	return http.HandlerFunc(h.serve)
}

type handler struct {
	t    transport.Transport
	door door.Door
	log  *slog.Logger
}

// page is the answer to a poll.
type page struct {
	VM       string
	Commands []transport.Delivery
	Cursor   transport.Cursor // goes into the next after
}

func (p *page) encode() ([]byte, error) {
	b := wire.Text([]byte(`{"vm_id":`), p.VM)
	b, err := wire.Deliveries(append(b, `,"commands":`...), p.Commands)
	b = wire.Text(append(b, `,"cursor":`...), p.Cursor)
	return append(b, '}'), err
}

func decodePage(b []byte) (page, error) {
	var p page
	err := wire.Read(b, func(r *wire.Reader) {
		r.Object(func(name []byte) {
			switch string(name) {
			case "vm_id":
				r.String(&p.VM)
			case "commands":
				p.Commands = wire.ReadDeliveries(r)
			case "cursor":
				r.String((*string)(&p.Cursor))
			default:
				r.Skip()
			}
		})
	})
	return p, err
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	p, err := h.poll(r)
	var body []byte
	if err == nil {
		body, err = p.encode()
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // not all can
	switch {
	case err == nil:
		httplink.WriteBody(w, body)
	case r.Context().Err() != nil: // nobody listens
	default:
		if e := (*transport.Error)(nil); !errors.As(err, &e) {
			h.log.Error("poll failed", "vm_id", r.PathValue("vm_id"), "error", err)
		}
		httplink.WriteError(w, err)
	}
}

func (h *handler) poll(r *http.Request) (page, error) {
	hello, err := httplink.Hello(r)
	if err != nil {
		return page{}, err
	}
	grant, err := h.door.Enter(r.Context(), hello.VM, httplink.Credentials(r))
	if err != nil {
		return page{}, err
	}
	wait := atOnce
	if s := r.URL.Query().Get("wait"); s != "" {
		if wait, err = time.ParseDuration(s); err != nil || wait <= 0 {
			return page{}, transport.Errorf(transport.CodeInvalid, "wait is not a duration like 30s")
		}
	}
	hello.AddHop("longpoll")
	link, err := h.t.Dial(r.Context(), hello)
	if err != nil {
		return page{}, err
	}
	defer link.Close()
	good, cancel := grant.Context(r.Context())
	defer cancel()
	ctx, cancel := context.WithTimeout(good, min(wait, maxWait))
	defer cancel()
	commands, err := link.Receive(ctx)
	switch {
	case err == nil:
	case good.Err() != nil:
		return page{}, context.Cause(good)
	case !errors.Is(err, context.DeadlineExceeded):
		return page{}, err
	}
	p := page{VM: hello.VM, Commands: commands, Cursor: hello.After}
	if n := len(commands); n > 0 {
		p.Cursor = commands[n-1].Cursor
	}
	return p, nil
}
