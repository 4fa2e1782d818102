package longpoll

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/door"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/peerlog"
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

	// patience is how long a poll is held as net/http holds requests.
	patience = time.Second / 2
)

// HandlerOptions are optional.
type HandlerOptions struct {
	// Authenticator lets a VM's requests pass, or says why not. Default: everybody passes.
	Authenticator transport.Authenticator
	// Hosts are names that requests may be for besides IP addresses and localhost, where there is no Authenticator: it
	// keeps pages away that a browser on a machine nearby shows. "*" is any. Default: none.
	Hosts []string
	// Context ends all polls over HTTP/1.1 that are held for a while with it: a request's own context goes when its
	// connection is taken over. Default: none.
	Context context.Context //nolint:containedctx // it is the server's, which has no method of its own
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Handler answers GET and POST …/vms/{vm_id}/commands, where vm_id is the request's path value. Each poll is a
// link of t.
//
// A poll over HTTP/1.1 that is held for more than half a second is parked, where links of t are Pushers: its connection
// is taken over, and goes back with the answer by http.Server.Serve. So a middleware sees the end of such a request early,
// and the server's BaseContext, ConnContext and ConnState see the connection again. http.Server.Shutdown does not know
// of parked polls: end the links at t, as the controller's own Shutdown does.
func Handler(t transport.Transport, o HandlerOptions) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Context == nil {
		o.Context = context.Background()
	}
	h := &handler{t: t, ctx: o.Context, log: peerlog.New(o.Log.With("component", "longpoll"))}
	h.door = door.New(o.Authenticator, h.log)
	return httplink.Guard{Asked: o.Authenticator != nil, Hosts: o.Hosts, Agents: true}.Handler(http.HandlerFunc(h.serve))
}

type handler struct {
	t    transport.Transport
	ctx  context.Context
	door door.Door
	log  *peerlog.Log
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
	if errors.Is(err, errParked) {
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // not all can
	said := (*transport.Error)(nil)
	// A body that does not come in time ends the request's context, too, and its client is told.
	if err == nil || errors.As(err, &said) || r.Context().Err() == nil {
		h.answer(w, p, err)
	}
}

// answer says what a poll has come to.
func (h *handler) answer(w http.ResponseWriter, p page, err error) {
	var body []byte
	if err == nil {
		body, err = p.encode()
	}
	if err == nil {
		httplink.WriteBody(w, body)
		return
	}
	if e := (*transport.Error)(nil); !errors.As(err, &e) {
		h.log.Write(h.ctx, slog.LevelError, "poll failed", p.VM, slog.Any("error", err))
	}
	httplink.WriteError(w, err)
}

func (h *handler) poll(w http.ResponseWriter, r *http.Request) (page, error) {
	hello, err := httplink.Hello(r)
	p := page{VM: hello.VM, Cursor: hello.After}
	if err != nil {
		return p, err
	}
	grant, err := h.door.Enter(r.Context(), hello.VM, httplink.Credentials(r))
	if err != nil {
		return p, err
	}
	wait := atOnce
	if s := r.URL.Query().Get("wait"); s != "" {
		if wait, err = time.ParseDuration(s); err != nil || wait <= 0 {
			return p, transport.Errorf(transport.CodeInvalid, "wait is not a duration like 30s")
		}
	}
	wait = min(wait, maxWait)
	hello.AddHop("longpoll")
	hello.Heard = heard(r.URL.Query())
	if r.Method == http.MethodPost {
		if err := h.record(w, r, hello, &p); err != nil {
			return p, err
		}
		wait = min(wait, company)
	}
	link, err := h.t.Dial(r.Context(), hello)
	if err != nil {
		return p, err
	}
	until := time.Now().Add(wait)
	err = p.receive(r.Context(), link, grant, min(wait, patience))
	if err == nil && len(p.Commands) == 0 && wait > patience && h.park(w, r, link, grant, p, until) {
		return p, errParked
	}
	if err == nil && len(p.Commands) == 0 && wait > patience {
		err = p.receive(r.Context(), link, grant, time.Until(until))
	}
	link.Close()
	return p, err
}

// heard is what a poll shows of the one before.
func heard(q url.Values) transport.Heard {
	return transport.Heard{Poll: true, Answered: q.Get("answered") == "true", Unsaid: q.Get("unsaid") == "true", NoCursor: !q.Has("after")}
}

// receive waits so long for commands.
func (p *page) receive(ctx context.Context, link transport.Link, grant transport.Grant, wait time.Duration) error {
	good, cancel := grant.Context(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(good, wait)
	defer cancel()
	commands, err := link.Receive(ctx)
	switch {
	case err == nil:
		p.put(commands)
	case good.Err() != nil:
		return context.Cause(good)
	case !errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return nil
}

func (p *page) put(commands []transport.Delivery) {
	if p.Commands = commands; len(commands) > 0 {
		p.Cursor = commands[len(commands)-1].Cursor
	}
}

// record takes the acks that a poll brings. A link of their own does: they are facts, also where the VM may poll no
// more.
func (h *handler) record(w http.ResponseWriter, r *http.Request, hello transport.Hello, p *page) error {
	up, err := h.t.Dial(r.Context(), transport.Hello{VM: hello.VM, Instance: hello.Instance, Via: hello.Via, Uplink: true})
	if err != nil {
		return err
	}
	defer up.Close()
	// Only now: how many bodies of a VM are read at a time is what its links are bounded by.
	body, err := httplink.ReadBody(w, r)
	if err != nil {
		return err
	}
	done, err := httplink.RecordAcks(r.Context(), up, body)
	p.Recorded, p.Refused = len(done.Acks), done.Refusals()
	return err
}
