package uplink

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/door"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/peerlog"
	"github.com/miglink/miglink/transport"
)

// Limits of one POST.
const (
	MaxBody  = httplink.MaxBody // bytes
	MaxBatch = ack.MaxBatch     // acks, and as many events
)

// restHeader says that the client has nothing to say for a while.
const restHeader = "Miglink-Rest"

// HandlerOptions are optional.
type HandlerOptions struct {
	// Authenticator lets a VM's requests pass, or says why not. Default: everybody passes.
	Authenticator transport.Authenticator
	// Hosts are names that requests may be for besides IP addresses and localhost, where there is no Authenticator: it
	// keeps pages away that a browser on a machine nearby shows. "*" is any. Default: none.
	Hosts []string
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Handler serves the three endpoints on patterns that begin with /vms/; t is where the acks and events
// go, each POST through an uplink of its own.
//
// Where a POST of events says that no other comes for a while, its connection over HTTP/1.1 rests on Linux: it is taken
// over, and goes back to its server, by http.Server.Serve, when there is something to read. The server's BaseContext,
// ConnContext and ConnState see it again then, and a middleware sees a ResponseWriter that is not to be used any more. It
// ends with the server, but SetKeepAlivesEnabled does not reach it.
func Handler(t transport.Transport, o HandlerOptions) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &handler{t: t, log: peerlog.New(o.Log.With("component", "uplink"))}
	h.door = door.New(o.Authenticator, h.log)
	var mux httplink.Mux
	mux.Handle("POST /vms/{vm_id}/commands/ack", h.serve(acks))
	mux.Handle("POST /vms/{vm_id}/events", h.serve(events))
	mux.Handle("POST /vms/{vm_id}/heartbeat", h.serve(heartbeat))
	return mux.Handler(httplink.Guard{Asked: o.Authenticator != nil, Hosts: o.Hosts, Agents: true})
}

type handler struct {
	t    transport.Transport
	door door.Door
	log  *peerlog.Log
}

// post handles a body and writes the answer, or returns the error to answer with.
type post func(w http.ResponseWriter, r *http.Request, link transport.Link, body []byte) error

func (h *handler) serve(do post) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.handle(w, r, do); err != nil {
			if e := (*transport.Error)(nil); !errors.As(err, &e) && r.Context().Err() == nil {
				vm, _ := httplink.VM(r) // the name is good: something is wrong with the rest
				h.log.Write(r.Context(), slog.LevelError, "uplink failed", vm, slog.Any("error", err))
			}
			httplink.WriteError(w, err)
		}
	})
}

func (h *handler) handle(w http.ResponseWriter, r *http.Request, do post) error {
	vm, err := httplink.VM(r)
	if err != nil {
		return err
	}
	if _, err := h.door.Enter(r.Context(), vm, httplink.Credentials(r)); err != nil {
		return err
	}
	q := r.URL.Query()
	instance := q.Get("instance")
	if len(instance) > transport.MaxVM {
		return transport.Errorf(transport.CodeInvalid, "instance is longer than %d bytes", transport.MaxVM)
	}
	hello := transport.Hello{VM: vm, Instance: instance, Uplink: true}
	if after := q.Get("after"); len(after) <= transport.MaxCursor { // one that makes no sense is as good as none
		hello.After, hello.Heard.Answered = transport.Cursor(after), q.Has("after")
	}
	hello.AddHop("http")
	link, err := h.t.Dial(r.Context(), hello)
	if err != nil {
		return err
	}
	defer link.Close()
	// Only now: how many bodies of a VM are read at a time is what its links are bounded by.
	body, err := httplink.ReadBody(w, r)
	if err != nil {
		return err
	}
	return do(w, r, link, body)
}

func acks(w http.ResponseWriter, r *http.Request, link transport.Link, body []byte) error {
	done, err := httplink.RecordAcks(r.Context(), link, body)
	switch {
	case err != nil:
		return err
	case done.Errs == nil:
		httplink.WriteJSON(w, http.StatusOK, recorded{len(done.Acks)})
		return nil
	case !done.Several:
		return done.Errs[0]
	}
	httplink.WriteProblem(w, problem(&done))
	return nil
}

type recorded struct {
	Recorded int `json:"recorded"`
}

// problem says which of several acks were not recorded.
func problem(done *httplink.Recorded) httplink.Problem {
	refused := done.Refusals()
	return httplink.Problem{
		Status:  http.StatusConflict,
		Code:    httplink.CodeAcksRefused,
		Detail:  fmt.Sprintf("%d of %d acks were refused, the others are recorded", len(refused), len(done.Acks)),
		Refused: refused,
	}
}

func events(w http.ResponseWriter, r *http.Request, link transport.Link, body []byte) error {
	raw, _, err := httplink.Elements(body)
	if err != nil {
		return err
	}
	list := make([]event.Event, len(raw))
	for i := range raw {
		if err := json.Unmarshal(raw[i], &list[i]); err != nil {
			return transport.Errorf(transport.CodeInvalid, "event %d does not decode: %s", i, httplink.Reason(err))
		}
	}
	if err := link.Report(r.Context(), list...); err != nil {
		return err
	}
	answer := func(w http.ResponseWriter) { httplink.WriteJSON(w, http.StatusOK, taken{len(list)}) }
	if r.Header.Get(restHeader) == "1" {
		httplink.Rest(w, r, body, answer)
	} else {
		answer(w)
	}
	return nil
}

func heartbeat(w http.ResponseWriter, r *http.Request, link transport.Link, body []byte) error {
	var e event.Event
	if err := json.Unmarshal(body, &e); err != nil {
		return transport.Errorf(transport.CodeInvalid, "the heartbeat does not decode: %s", httplink.Reason(err))
	}
	if e.Type == "" {
		e.Type = event.TypeHeartbeat
	}
	if err := link.Report(r.Context(), e); err != nil {
		return err
	}
	httplink.WriteJSON(w, http.StatusOK, taken{1})
	return nil
}

type taken struct {
	Taken int `json:"taken"`
}
