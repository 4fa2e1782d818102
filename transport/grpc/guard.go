package grpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
	pb "github.com/miglink/miglink/transport/grpc/miglinkv1"
)

// envelopes is the body of a stream. It ends at the head of a message that is larger than allowed, which
// connect would read to its end first, be it 4 GiB.
type envelopes struct {
	io.ReadCloser
	most int // bytes of a message
	more int // messages that may come; negative: no bound

	head [5]byte // flags, and the length of the message
	had  int     // bytes of the head
	left int     // bytes of the message
	err  error
}

func newEnvelopes(body io.ReadCloser) *envelopes {
	return &envelopes{ReadCloser: body, most: framed.MaxHello, more: -1}
}

func (e *envelopes) Read(b []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	if e.left > 0 {
		n, err := e.ReadCloser.Read(b[:min(len(b), e.left)])
		e.left -= n
		return n, err
	}
	n, err := e.ReadCloser.Read(b[:min(len(b), len(e.head)-e.had)])
	copy(e.head[e.had:], b[:n])
	if e.had += n; e.had < len(e.head) {
		return n, err
	}
	e.had = 0
	e.left = int(binary.BigEndian.Uint32(e.head[1:]))
	switch {
	case e.head[0] != 0:
		e.err = transport.Errorf(transport.CodeProtocol, "a message is compressed, which was not agreed on")
	case e.left > e.most:
		e.err = transport.Errorf(transport.CodeTooLarge, "a message is larger than %d bytes", e.most)
	case e.more == 0:
		e.err = transport.Errorf(transport.CodeRateLimited, "there are more messages than one stream may have; open another")
	default:
		e.more = max(e.more-1, -1)
		return n, err
	}
	return 0, e.err
}

// onlyGRPC serves requests that speak gRPC, and refuses others before anything of their body is read.
func onlyGRPC(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isGRPC(r.Header.Get("Content-Type")) {
			httplink.WriteError(w, httplink.WithStatus(http.StatusUnsupportedMediaType,
				transport.Errorf(transport.CodeInvalid, "this endpoint speaks gRPC with Protocol Buffers: the Content-Type has to be application/grpc")))
			return
		}
		h(w, r)
	})
}

// refuse answers who speaks gRPC as gRPC does where there is nothing but trailers, and others with a problem document.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	if !isGRPC(r.Header.Get("Content-Type")) || r.ProtoMajor < 2 {
		httplink.WriteError(w, err)
		return
	}
	e := transport.AsError(err)
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.FormatUint(uint64(statusOf(e.Code)), 10))
	h.Set("Grpc-Message", url.PathEscape(e.Message)) // percent-encoded, says gRPC
	h.Set(codeHeader, string(e.Code))
	w.WriteHeader(http.StatusOK)
}

// isGRPC says whether a request speaks gRPC with Protocol Buffers, and none of the other protocols that
// connect knows: their messages are not bounded here.
func isGRPC(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "application/grpc", "application/grpc+proto":
		return true
	}
	return false
}

var errTooMany = errors.New("a message holds more than is allowed in one")

// codec is that of Protocol Buffers, which takes a message only after a look at how many elements it has: an
// empty one is two bytes on the wire, and a hundred in memory.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(m any) ([]byte, error) { return codec{}.MarshalAppend(nil, m) }

func (codec) MarshalAppend(b []byte, m any) ([]byte, error) {
	message, ok := m.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no message", m)
	}
	return proto.MarshalOptions{}.MarshalAppend(b, message)
}

func (codec) Unmarshal(b []byte, m any) error {
	message, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", m)
	}
	var lists []list
	switch m.(type) {
	case *pb.AgentFrame:
		lists = agentLists
	case *pb.ControllerFrame:
		lists = controllerLists
	}
	for _, l := range lists {
		if l.exceeded(b) {
			return errTooMany
		}
	}
	return proto.Unmarshal(b, message)
}

// list is a list of messages in a frame.
type list struct {
	field   protowire.Number // of the frame, that holds the list
	element protowire.Number // of each element there
	most    int
}

var (
	agentLists = []list{
		{field: number(&pb.AgentFrame{}, "acks"), element: number(&pb.Acks{}, "acks"), most: ack.MaxBatch},
		{field: number(&pb.AgentFrame{}, "events"), element: number(&pb.Events{}, "events"), most: event.MaxBatch},
	}
	controllerLists = []list{
		{field: number(&pb.ControllerFrame{}, "commands"), element: number(&pb.Commands{}, "deliveries"), most: transport.MaxDeliveries},
		{field: number(&pb.ControllerFrame{}, "recorded"), element: number(&pb.Recorded{}, "refused"), most: ack.MaxBatch},
	}
)

// number is that of a field, as the .proto file has it.
func number(m proto.Message, field string) protowire.Number {
	for fields, i := m.ProtoReflect().Descriptor().Fields(), 0; i < fields.Len(); i++ {
		if string(fields.Get(i).Name()) == field {
			return fields.Get(i).Number()
		}
	}
	panic("grpc: the .proto file has no field " + field)
}

// exceeded counts the elements. What is no Protocol Buffers is for who decodes it to say.
func (l list) exceeded(b []byte) bool {
	n := 0
	eachField(b, l.field, func(inner []byte) {
		eachField(inner, l.element, func([]byte) { n++ })
	})
	return n > l.most
}

// eachField calls f with the content of each field of a number that holds a message.
func eachField(b []byte, number protowire.Number, f func([]byte)) {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return
		}
		b = b[n:]
		if field == number && kind == protowire.BytesType {
			if content, n := protowire.ConsumeBytes(b); n >= 0 {
				f(content)
			}
		}
		if n = protowire.ConsumeFieldValue(field, kind, b); n < 0 {
			return
		}
		b = b[n:]
	}
}
