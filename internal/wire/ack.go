package wire

import (
	"bytes"

	"github.com/miglink/miglink/ack"
)

// Acks appends an array of acks.
func Acks(b []byte, acks []ack.Ack) ([]byte, error) {
	b = append(b, '[')
	var err error
	for i := range acks {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendAck(b, &acks[i]); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

func appendAck(b []byte, a *ack.Ack) ([]byte, error) {
	var err error
	b = Text(append(b, `{"command_id":`...), a.CommandID)
	b = Text(append(b, `,"status":`...), a.Stage)
	if a.Attempt != 0 {
		b = Number(append(b, `,"attempt":`...), a.Attempt)
	}
	if !a.Time.IsZero() {
		if b, err = Time(append(b, `,"timestamp":`...), a.Time); err != nil {
			return b, err
		}
	}
	if !a.CreatedAt.IsZero() {
		if b, err = Time(append(b, `,"created_at":`...), a.CreatedAt); err != nil {
			return b, err
		}
	}
	if a.Code != "" {
		b = Text(append(b, `,"code":`...), a.Code)
	}
	if a.Reason != "" {
		b = Text(append(b, `,"reason":`...), a.Reason)
	}
	if len(a.Result) > 0 {
		if b, err = Raw(append(b, `,"result":`...), a.Result); err != nil {
			return b, err
		}
	}
	if a.Run != "" {
		b = Text(append(b, `,"run":`...), a.Run)
	}
	if a.Again {
		b = append(b, `,"again":true`...)
	}
	if a.EndsIn != 0 {
		b = Number(append(b, `,"ends_in":`...), a.EndsIn)
	}
	if a.RetryAfter != 0 {
		if b, err = Float(append(b, `,"retry_after":`...), a.RetryAfter); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

// usualAck and usualDelivery are about what takes most room as JSON, in bytes.
const (
	usualAck      = 140
	usualDelivery = 280
)

// ReadAcks reads an array of at most ack.MaxBatch acks; null is nil.
func ReadAcks(r *Reader) []ack.Ack {
	acks := make([]ack.Ack, 0, min(r.room(usualAck), ack.MaxBatch))
	if !r.Array(func() {
		if len(acks) == ack.MaxBatch {
			r.Fail(ErrTooMany)
			return
		}
		acks = append(acks, ack.Ack{})
		readAck(r, &acks[len(acks)-1])
	}) {
		return nil
	}
	return acks
}

func readAck(r *Reader, a *ack.Ack) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "command_id":
			r.String(&a.CommandID)
		case "status":
			if b := r.text(); b != nil {
				a.Stage = stageOf(b)
			}
		case "attempt":
			r.Int(&a.Attempt)
		case "timestamp":
			r.Time(&a.Time)
		case "created_at":
			r.Time(&a.CreatedAt)
		case "code":
			if b := r.text(); b != nil {
				a.Code = ack.Code(b)
			}
		case "reason":
			r.String(&a.Reason)
		case "result":
			a.Result = bytes.Clone(r.Raw())
		case "run":
			r.String(&a.Run)
		case "again":
			r.Bool(&a.Again)
		case "ends_in":
			r.Uint(&a.EndsIn)
		case "retry_after":
			r.Float(&a.RetryAfter)
		default:
			r.Skip()
		}
	})
}

// stageOf makes no copy of a stage that is known.
func stageOf(b []byte) ack.Stage {
	switch s := ack.Stage(b); s {
	case ack.Received:
		return ack.Received
	case ack.Started:
		return ack.Started
	case ack.Succeeded:
		return ack.Succeeded
	}
	var s ack.Stage
	_ = s.UnmarshalText(b) // takes any text
	return s
}
