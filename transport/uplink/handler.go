package uplink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/door"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/transport"
)

// Limits of one POST.
const (
	MaxBody  = 1 << 20      // bytes
	MaxBatch = ack.MaxBatch // acks, and as many events

	bodyTimeout = 30 * time.Second // for the body to arrive
)

// HandlerOptions are optional.
type HandlerOptions struct {
	// Authenticator lets a VM's requests pass, or says why not. Default: everybody passes.
	Authenticator transport.Authenticator
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Handler serves the three endpoints on patterns that begin with /vms/; t is where the acks and events
// go, each POST through an uplink of its own.
func Handler(t transport.Transport, o HandlerOptions) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &handler{t: t, log: o.Log.With("component", "uplink")}
	h.door = door.New(o.Authenticator, h.log)
	mux := http.NewServeMux()
	mux.Handle("POST /vms/{vm_id}/commands/ack", h.serve(acks))
	mux.Handle("POST /vms/{vm_id}/events", h.serve(events))
	mux.Handle("POST /vms/{vm_id}/heartbeat", h.serve(heartbeat))
	return mux
}

type handler struct {
	t    transport.Transport
	door door.Door
	log  *slog.Logger
}

// post handles a body and writes the answer, or returns the error to answer with.
type post func(w http.ResponseWriter, r *http.Request, link transport.Link, body []byte) error

func (h *handler) serve(do post) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.handle(w, r, do); err != nil {
			if e := (*transport.Error)(nil); !errors.As(err, &e) && r.Context().Err() == nil {
				h.log.Error("uplink failed", "vm_id", r.PathValue("vm_id"), "error", err)
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
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // not all can
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return transport.Errorf(transport.CodeTooLarge, "the body is larger than %d bytes", MaxBody)
		}
		return transport.Errorf(transport.CodeInvalid, "the body could not be read")
	}
	instance := r.URL.Query().Get("instance")
	if len(instance) > transport.MaxVM {
		return transport.Errorf(transport.CodeInvalid, "instance is longer than %d bytes", transport.MaxVM)
	}
	hello := transport.Hello{VM: vm, Instance: instance, Uplink: true}
	hello.AddHop("http")
	link, err := h.t.Dial(r.Context(), hello)
	if err != nil {
		return err
	}
	defer link.Close()
	return do(w, r, link, body)
}

func acks(w http.ResponseWriter, r *http.Request, link transport.Link, body []byte) error {
	all, errs, several, err := decodeAcks(body)
	if err != nil {
		return err
	}
	good, at := all, []int(nil)
	if errs != nil {
		good = make([]ack.Ack, 0, len(all))
		for i := range all {
			if errs[i] == nil {
				good, at = append(good, all[i]), append(at, i)
			}
		}
	}
	if len(good) > 0 {
		err = link.Ack(r.Context(), good...)
	}
	switch {
	case err != nil && !transport.Refused(err):
		return err
	case err == nil && errs == nil:
		httplink.WriteJSON(w, http.StatusOK, recorded{len(all)})
		return nil
	case errs == nil:
		errs = make(transport.AckErrors, len(all))
		for i := range all {
			errs[i] = transport.AckError(err, i)
		}
	default:
		for i := range good {
			errs[at[i]] = transport.AckError(err, i)
		}
	}
	if !several {
		return errs[0]
	}
	httplink.WriteProblem(w, refusals(errs, all))
	return nil
}

// decodeAcks returns the acks of a body, and what is wrong with those that do not decode; nil: with none.
func decodeAcks(body []byte) (acks []ack.Ack, errs transport.AckErrors, several bool, err error) {
	raw, several, err := split(body)
	if err != nil {
		return nil, nil, several, err
	}
	if several && wire.Read(body, func(r *wire.Reader) { acks = wire.ReadAcks(r) }) == nil {
		return acks, nil, true, nil
	}
	acks = make([]ack.Ack, len(raw)) // one by one: some may be good
	for i := range raw {
		if err := json.Unmarshal(raw[i], &acks[i]); err != nil {
			if errs == nil {
				errs = make(transport.AckErrors, len(raw))
			}
			errs[i] = transport.Errorf(transport.CodeInvalid, "ack %d does not decode: %s", i, reason(err))
			acks[i].CommandID = ""
		}
	}
	return acks, errs, several, nil
}

type recorded struct {
	Recorded int `json:"recorded"`
}

// refusals says which of several acks were not recorded.
func refusals(errs transport.AckErrors, acks []ack.Ack) httplink.Problem {
	p := httplink.Problem{
		Type:   "about:blank",
		Title:  http.StatusText(http.StatusConflict),
		Status: http.StatusConflict,
		Code:   httplink.CodeAcksRefused,
	}
	for i, err := range errs {
		if err != nil {
			e := transport.AsError(err)
			p.Refused = append(p.Refused, httplink.Refusal{Index: i, CommandID: acks[i].CommandID, Code: e.Code, Detail: e.Message})
		}
	}
	p.Detail = fmt.Sprintf("%d of %d acks were refused, the others are recorded", len(p.Refused), len(errs))
	return p
}

func events(w http.ResponseWriter, r *http.Request, link transport.Link, body []byte) error {
	raw, _, err := split(body)
	if err != nil {
		return err
	}
	list := make([]event.Event, len(raw))
	for i := range raw {
		if err := json.Unmarshal(raw[i], &list[i]); err != nil {
			return transport.Errorf(transport.CodeInvalid, "event %d does not decode: %s", i, reason(err))
		}
	}
	if err := link.Report(r.Context(), list...); err != nil {
		return err
	}
	httplink.WriteJSON(w, http.StatusOK, taken{len(list)})
	return nil
}

func heartbeat(w http.ResponseWriter, r *http.Request, link transport.Link, body []byte) error {
	var e event.Event
	if err := json.Unmarshal(body, &e); err != nil {
		return transport.Errorf(transport.CodeInvalid, "the heartbeat does not decode: %s", reason(err))
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

// split returns the elements of a JSON array, or the one document that body is.
func split(body []byte) (raw []json.RawMessage, several bool, err error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return nil, false, transport.Errorf(transport.CodeInvalid, "the body is empty")
	}
	if body[0] != '[' {
		return []json.RawMessage{body}, false, nil
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, true, transport.Errorf(transport.CodeInvalid, "the body does not decode: %s", reason(err))
	}
	if len(raw) > MaxBatch {
		return nil, true, transport.Errorf(transport.CodeTooLarge, "%d elements, at most %d are allowed", len(raw), MaxBatch)
	}
	return raw, true, nil
}

// reason says what is wrong with JSON, without quoting it.
func reason(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("not JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Sprintf("field %q is not a %s", kind.Field, kind.Type)
	case errors.Is(err, ack.ErrInvalid):
		return err.Error()
	}
	return "not of the documented form"
}
