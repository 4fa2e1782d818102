package wire

import (
	"bytes"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport"
)

// Deliveries appends an array of commands on their way.
func Deliveries(b []byte, page []transport.Delivery) ([]byte, error) {
	b = append(b, '[')
	var err error
	for i := range page {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = Delivery(b, &page[i]); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

// Delivery appends one command on its way.
func Delivery(b []byte, d *transport.Delivery) ([]byte, error) {
	b = Text(append(b, `{"cursor":`...), d.Cursor)
	b = Number(append(b, `,"attempt":`...), d.Attempt)
	if d.Started {
		b = append(b, `,"started":true`...)
	}
	if d.AckWithin != 0 {
		b = append(append(append(b, `,"ack_within":"`...), d.AckWithin.String()...), '"')
	}
	if d.ExpiresIn != 0 {
		b = Number(append(b, `,"expires_in":`...), d.ExpiresIn)
	}
	return commandFields(append(b, ','), &d.Command)
}

// Command appends a command.
func Command(b []byte, c *command.Command) ([]byte, error) { return commandFields(append(b, '{'), c) }

// commandFields appends the fields of a command, and the end of its object.
func commandFields(b []byte, c *command.Command) ([]byte, error) {
	var err error
	b = Text(append(b, `"id":`...), c.ID)
	b = Text(append(b, `,"type":`...), c.Type)
	b = append(b, `,"parameters":`...)
	if len(c.Parameters) == 0 {
		b = append(b, `{}`...)
	} else if b, err = Raw(b, c.Parameters); err != nil {
		return b, err
	}
	if b, err = Time(append(b, `,"created_at":`...), c.CreatedAt); err != nil {
		return b, err
	}
	if !c.ExpiresAt.IsZero() {
		if b, err = Time(append(b, `,"expires_at":`...), c.ExpiresAt); err != nil {
			return b, err
		}
	}
	if c.IdempotencyKey != "" {
		b = Text(append(b, `,"idempotency_key":`...), c.IdempotencyKey)
	}
	if c.SupersedeKey != "" {
		b = Text(append(b, `,"supersede_key":`...), c.SupersedeKey)
	}
	if c.RunTimeout != 0 {
		b = Number(append(b, `,"run_timeout":`...), c.RunTimeout.Count())
	}
	if c.Urgent {
		b = append(b, `,"urgent":true`...)
	}
	return append(b, '}'), nil
}

// mostDeliveries are in most pages.
const mostDeliveries = 128

// ReadDeliveries reads an array of commands on their way, at most transport.MaxDeliveries; null is nil.
func ReadDeliveries(r *Reader) []transport.Delivery {
	page := make([]transport.Delivery, 0, min(r.room(usualDelivery), mostDeliveries))
	if !r.Array(func() {
		if len(page) == transport.MaxDeliveries {
			r.Fail(ErrTooMany)
			return
		}
		page = append(page, transport.Delivery{})
		ReadDelivery(r, &page[len(page)-1])
	}) {
		return nil
	}
	return page
}

// ReadDelivery reads one command on its way.
func ReadDelivery(r *Reader, d *transport.Delivery) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "cursor":
			r.String((*string)(&d.Cursor))
		case "attempt":
			r.Int(&d.Attempt)
		case "started":
			r.Bool(&d.Started)
		case "ack_within":
			readDuration(r, &d.AckWithin)
		case "expires_in":
			r.Uint(&d.ExpiresIn)
		case "id":
			r.String(&d.ID)
		case "type":
			if b := r.text(); b != nil {
				d.Type = typeOf(b)
			}
		case "parameters":
			if d.Parameters = bytes.Clone(r.Raw()); d.Parameters == nil {
				d.Parameters = command.Parameters("{}")
			}
		case "created_at":
			r.Time(&d.CreatedAt)
		case "expires_at":
			r.Time(&d.ExpiresAt)
		case "idempotency_key":
			r.String(&d.IdempotencyKey)
		case "supersede_key":
			r.String(&d.SupersedeKey)
		case "run_timeout":
			var n uint64
			r.Uint(&n)
			d.RunTimeout = command.MillisecondsOf(n)
		case "urgent":
			r.Bool(&d.Urgent)
		default:
			r.Skip()
		}
	})
}

func readDuration(r *Reader, into *command.Duration) {
	v := r.Raw()
	if v == nil {
		return
	}
	if v[0] == '"' {
		if d, ok := parseDuration(v[1 : len(v)-1]); ok {
			*into = command.Duration(d)
			return
		}
	}
	if err := into.UnmarshalJSON(v); err != nil {
		r.Fail(err)
	}
}

// typeOf makes no copy of a type of the deployed system.
func typeOf(b []byte) command.Type {
	for _, t := range known {
		if string(b) == string(t) {
			return t
		}
	}
	return command.Type(b)
}

var known = []command.Type{
	command.TypeRegisterRunner, command.TypeDrain, command.TypeShutdown, command.TypeUpdateConfig, command.TypeSetLogLevel, command.TypeCancel,
}
