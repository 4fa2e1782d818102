package httplink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/transport"
)

// MaxBody bounds a body of acks or events, in bytes.
const MaxBody = 1 << 20

// Recorded is what has become of the acks of a body.
type Recorded struct {
	Acks    []ack.Ack
	Errs    transport.AckErrors // of each; nil: all are recorded
	Several bool                // they were an array
}

// RecordAcks has the acks of a body recorded by a link. An error is that of them all.
func RecordAcks(ctx context.Context, link transport.Link, body []byte) (Recorded, error) {
	r, err := decodeAcks(body)
	if err != nil {
		return r, err
	}
	good, at := r.Acks, []int(nil)
	if r.Errs != nil {
		good = make([]ack.Ack, 0, len(r.Acks))
		for i := range r.Acks {
			if r.Errs[i] == nil {
				good, at = append(good, r.Acks[i]), append(at, i)
			}
		}
	}
	if len(good) > 0 {
		err = link.Ack(ctx, good...)
	}
	switch {
	case err == nil:
		return r, nil
	case !transport.Refused(err):
		return r, err
	case at == nil:
		r.Errs = make(transport.AckErrors, len(r.Acks))
		for i := range r.Acks {
			r.Errs[i] = transport.AckError(err, i)
		}
	default:
		for i := range good {
			r.Errs[at[i]] = transport.AckError(err, i)
		}
	}
	return r, nil
}

// Refusals are those of the acks that were not recorded.
func (r *Recorded) Refusals() []Refusal {
	var refused []Refusal
	for i, err := range r.Errs {
		if err != nil {
			e := transport.AsError(err)
			refused = append(refused, Refusal{Index: i, CommandID: r.Acks[i].CommandID, Code: e.Code, Detail: e.Message})
		}
	}
	return refused
}

// AckErrors is what refusals say of n acks; nil: all are recorded.
func AckErrors(refused []Refusal, n int) (transport.AckErrors, error) {
	if len(refused) == 0 {
		return nil, nil
	}
	errs := make(transport.AckErrors, n)
	for _, r := range refused {
		if r.Index < 0 || r.Index >= n {
			return nil, fmt.Errorf("the controller refused ack %d of %d", r.Index, n)
		}
		errs[r.Index] = transport.PeerError(r.Code, r.Detail, 0)
	}
	return errs, nil
}

// decodeAcks returns the acks of a body, and what is wrong with those that do not decode.
func decodeAcks(body []byte) (r Recorded, err error) {
	if wire.Read(body, func(in *wire.Reader) { r.Acks = wire.ReadAcks(in) }) == nil && r.Acks != nil {
		r.Several = true
		return r, nil
	}
	raw, several, err := Elements(body)
	r = Recorded{Acks: make([]ack.Ack, len(raw)), Several: several}
	for i := range raw { // one by one: some may be good
		if err := json.Unmarshal(raw[i], &r.Acks[i]); err != nil {
			if r.Errs == nil {
				r.Errs = make(transport.AckErrors, len(raw))
			}
			r.Errs[i] = transport.Errorf(transport.CodeInvalid, "ack %d does not decode: %s", i, Reason(err))
			r.Acks[i].CommandID = ""
		}
	}
	return r, err
}

// Elements are those of a JSON array, or the one document that body is.
func Elements(body []byte) (raw []json.RawMessage, several bool, err error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return nil, false, transport.Errorf(transport.CodeInvalid, "the body is empty")
	}
	if body[0] != '[' {
		return []json.RawMessage{body}, false, nil
	}
	// One by one: an element of two bytes takes thirty in memory, and no more are made than are allowed.
	in := json.NewDecoder(bytes.NewReader(body))
	_, err = in.Token()
	for err == nil && in.More() {
		if len(raw) == ack.MaxBatch {
			return nil, true, transport.Errorf(transport.CodeTooLarge, "more than %d elements in the array, which is the most that are allowed", ack.MaxBatch)
		}
		var element json.RawMessage
		err = in.Decode(&element)
		raw = append(raw, element)
	}
	if err == nil {
		_, err = in.Token() // the end of the array
	}
	if err == nil {
		if _, more := in.Token(); more != io.EOF {
			err = &json.SyntaxError{Offset: in.InputOffset()}
		}
	}
	if err != nil {
		return nil, true, transport.Errorf(transport.CodeInvalid, "the body does not decode: %s", Reason(err))
	}
	return raw, true, nil
}

// Reason says what is wrong with JSON, without quoting it.
func Reason(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("not JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Sprintf("field %q is not a %s", kind.Field, kind.Type)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it breaks off"
	case errors.Is(err, ack.ErrInvalid):
		return err.Error()
	}
	return "not of the documented form"
}
