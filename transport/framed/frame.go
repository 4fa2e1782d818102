package framed

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

// Version is the highest version of the protocol that this package speaks.
const Version = 1

// Frame is one message of the protocol. N numbers the frames of each direction from 1; one of the
// other fields is set, and Recorded may be, besides Commands. A frame with none, of a later version, is
// ignored.
type Frame struct {
	N uint64 `json:"n"`

	Hello    *Hello               `json:"hello,omitempty"`    // agent: the first frame
	Welcome  *Welcome             `json:"welcome,omitempty"`  // controller: the answer
	Commands []transport.Delivery `json:"commands,omitempty"` // controller
	Acks     []ack.Ack            `json:"acks,omitempty"`     // agent
	Recorded *Recorded            `json:"recorded,omitempty"` // controller: of acks
	Events   *[]event.Event       `json:"events,omitempty"`   // agent; an empty list is a sign of life
	Taken    *Taken               `json:"taken,omitempty"`    // controller: of events
	Ping     bool                 `json:"ping,omitempty"`     // either: answer with a pong
	Pong     bool                 `json:"pong,omitempty"`     // either
	Close    *Close               `json:"close,omitempty"`    // either: the last frame
}

// idle says whether a frame says nothing but that the peer lives.
func (f *Frame) idle() bool {
	return f.Hello == nil && f.Welcome == nil && f.Commands == nil && f.Acks == nil && f.Recorded == nil && f.Events == nil && f.Taken == nil && f.Close == nil
}

// Hello opens a link.
type Hello struct {
	Version int    `json:"version"`         // the highest that the agent speaks
	Token   string `json:"token,omitempty"` // where the pipe has no other place for it
	transport.Hello
}

// Welcome accepts a link.
type Welcome struct {
	Version   int     `json:"version"`   // to be spoken; at most the agent's
	Keepalive float64 `json:"keepalive"` // seconds; see Options.Keepalive
}

// Recorded answers all acks up to and including those of a frame.
type Recorded struct {
	Upto    uint64    `json:"upto"`
	Refused []Refused `json:"refused,omitempty"` // of them, those that were not recorded
}

// Refused is one ack that was not recorded.
type Refused struct {
	Frame uint64 `json:"frame"`
	Index int    `json:"index"` // among the acks of the frame
	Close
}

// Taken answers the events of one frame.
type Taken struct {
	Of    uint64 `json:"of"`
	Error *Close `json:"error,omitempty"` // nil: all were taken
}

// Close is a transport.Error on the wire.
type Close struct {
	Code       transport.Code `json:"code"`
	Message    string         `json:"message,omitempty"`
	RetryAfter float64        `json:"retry_after,omitempty"` // seconds
}

func toWire(err error) Close {
	e := transport.AsError(err)
	return Close{Code: e.Code, Message: e.Message, RetryAfter: e.RetryAfter.Seconds()}
}

func (c Close) err() *transport.Error { return transport.PeerError(c.Code, c.Message, c.RetryAfter) }

// Encode appends f to b as JSON, for pipes that carry bytes.
func Encode(b *bytes.Buffer, f *Frame) error {
	out := wire.Number(append(b.AvailableBuffer(), `{"n":`...), f.N)
	var err error
	switch {
	case f.Commands != nil:
		out, err = wire.Deliveries(append(out, `,"commands":`...), f.Commands)
		if f.Recorded != nil {
			out = appendRecorded(out, f.Recorded)
		}
	case f.Acks != nil:
		out, err = wire.Acks(append(out, `,"acks":`...), f.Acks)
	case f.Recorded != nil && f.Recorded.Refused == nil:
		out = appendRecorded(out, f.Recorded)
	default: // seldom
		return wirejson.Encode(b, f)
	}
	_, _ = b.Write(append(out, '}')) // a Buffer takes all
	return err
}

func appendRecorded(b []byte, r *Recorded) []byte {
	return append(wire.Number(append(b, `,"recorded":{"upto":`...), r.Upto), '}')
}

// Decode reads what Encode wrote.
func Decode(b []byte) (*Frame, error) {
	f := new(Frame)
	err := wire.Read(b, func(r *wire.Reader) { r.Object(func(name []byte) { f.read(r, name) }) })
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, wire.ErrTooMany):
		return nil, transport.Errorf(transport.CodeTooLarge, "a frame holds more than is allowed in one")
	}
	return nil, transport.Errorf(transport.CodeProtocol, "a frame does not decode")
}

// read reads one field.
func (f *Frame) read(r *wire.Reader, name []byte) {
	switch string(name) {
	case "n":
		r.Uint(&f.N)
	case "commands":
		f.Commands = wire.ReadDeliveries(r)
	case "acks":
		f.Acks = wire.ReadAcks(r)
	case "hello":
		readSeldom(r, &f.Hello)
	case "welcome":
		readSeldom(r, &f.Welcome)
	case "recorded":
		f.Recorded = readRecorded(r)
	case "events":
		f.Events = readEvents(r)
	case "taken":
		readSeldom(r, &f.Taken)
	case "ping":
		r.Bool(&f.Ping)
	case "pong":
		r.Bool(&f.Pong)
	case "close":
		readSeldom(r, &f.Close)
	default:
		r.Skip()
	}
}

func readRecorded(r *wire.Reader) *Recorded {
	var recorded *Recorded
	r.Object(func(name []byte) {
		if recorded == nil {
			recorded = new(Recorded)
		}
		switch string(name) {
		case "upto":
			r.Uint(&recorded.Upto)
		case "refused":
			recorded.Refused = wire.List(r, ack.MaxBatch, func(refused *Refused) { readSeldom(r, refused) })
		default:
			r.Skip()
		}
	})
	return recorded
}

func readEvents(r *wire.Reader) *[]event.Event {
	events := wire.List(r, event.MaxBatch, func(e *event.Event) { readSeldom(r, e) })
	if events == nil {
		return nil
	}
	return &events
}

// readSeldom reads what need not be read fast.
func readSeldom(r *wire.Reader, into any) {
	if raw := r.Raw(); raw != nil {
		if err := json.Unmarshal(raw, into); err != nil {
			r.Fail(err)
		}
	}
}
