package longpoll

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/door"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

const (
	maxWait      = 60 * time.Second
	atOnce       = 100 * time.Millisecond // for a poll without wait; a relay needs a round trip
	writeTimeout = 30 * time.Second

	// A poll that brings acks is not held much longer than that: it is their answer, too.
	company = 20 * time.Millisecond
)

// HandlerOptions are optional.
type HandlerOptions struct {
	// Authenticator lets a VM's requests pass, or says why not. Default: everybody passes.
	Authenticator transport.Authenticator
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Handler answers GET and POST …/vms/{vm_id}/commands, where vm_id is the request's path value. Each poll is a
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

	Recorded int                // so many acks that the poll brought were taken, and were recorded
	Refused  []httplink.Refusal // but for these
}

func (p *page) encode() ([]byte, error) {
	b := wire.Text([]byte(`{"vm_id":`), p.VM)
	b, err := wire.Deliveries(append(b, `,"commands":`...), p.Commands)
	b = wire.Text(append(b, `,"cursor":`...), p.Cursor)
	if p.Recorded > 0 {
		b = wire.Number(append(b, `,"recorded":`...), p.Recorded)
	}
	if err == nil && len(p.Refused) > 0 {
		var refused []byte
		refused, err = wirejson.Marshal(p.Refused)
		b = append(append(b, `,"refused":`...), refused...)
	}
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
			case "recorded":
				r.Int(&p.Recorded)
			case "refused":
				p.Refused = wire.List(r, ack.MaxBatch, func(into *httplink.Refusal) {
					if err := json.Unmarshal(r.Raw(), into); err != nil {
						r.Fail(err)
					}
				})
			default:
				r.Skip()
			}
		})
	})
	return p, err
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	p, err := h.poll(w, r)
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

func (h *handler) poll(w http.ResponseWriter, r *http.Request) (page, error) {
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
	p := page{VM: hello.VM, Cursor: hello.After}
	hello.AddHop("longpoll")
	if r.Method == http.MethodPost {
		if err := h.record(w, r, hello, &p); err != nil {
			return page{}, err
		}
		wait = min(wait, company)
	}
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
	if p.Commands = commands; len(commands) > 0 {
		p.Cursor = commands[len(commands)-1].Cursor
	}
	return p, nil
}

// record takes the acks that a poll brings. A link of their own does: they are facts, also where the VM may poll no
// more.
func (h *handler) record(w http.ResponseWriter, r *http.Request, hello transport.Hello, p *page) error {
	body, err := httplink.ReadBody(w, r)
	if err != nil {
		return err
	}
	up, err := h.t.Dial(r.Context(), transport.Hello{VM: hello.VM, Instance: hello.Instance, Via: hello.Via, Uplink: true})
	if err != nil {
		return err
	}
	defer up.Close()
	done, err := httplink.RecordAcks(r.Context(), up, body)
	p.Recorded, p.Refused = len(done.Acks), done.Refusals()
	return err
}
