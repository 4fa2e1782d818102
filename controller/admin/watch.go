package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

const (
	keepalive    = 15 * time.Second
	writeTimeout = 15 * time.Second
)

// Notice is a controller.Notice with a Status in place of the entry.
type Notice struct {
	controller.Notice
	Command *Status `json:"command,omitempty"`
}

// closing is the data of a close event, the last of a stream that ends for a reason.
type closing struct {
	Code    transport.Code `json:"code"`
	Message string         `json:"message,omitempty"`
}

const typeClose = "close"

func watch(d *desk, w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	only := r.URL.Query().Get("vm_id")
	notices, done, err := d.Watch(ctx, only)
	if err != nil {
		return err
	}
	defer done()
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
	alive := time.NewTicker(keepalive)
	defer alive.Stop()
	err = send(comment)
	for err == nil {
		select {
		case <-alive.C:
			err = send(comment)
		case <-ctx.Done():
			if why, ok := context.Cause(ctx).(*transport.Error); ok { //nolint:errorlint // our own, unwrapped
				_ = send(ending(why))
			}
			return nil // else the client is gone
		case n, ok := <-notices:
			switch {
			case !ok && ctx.Err() == nil:
				return nil
			case !ok, only != "" && n.VM != only && n.Kind != controller.NoticeLost, !d.sees(n):
				continue
			}
			err = send(message(n))
		}
	}
	return nil // the client is gone
}

// ending tells why a stream ends.
func ending(e *transport.Error) *sse.Message {
	m := &sse.Message{Type: sse.Type(typeClose)}
	if data, err := wirejson.Marshal(closing{e.Code, e.Message}); err == nil {
		m.AppendData(string(data))
	}
	return m
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
