package bolt

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/ledger"
)

// appendEntry appends an entry as JSON, as encoding/json would: each command is written twice, and that
// was a tenth of what it cost.
func appendEntry(b []byte, e *ledger.Entry) (_ []byte, err error) {
	b = wire.Text(append(b, `{"vm_id":`...), e.VM)
	b = wire.Number(append(b, `,"seq":`...), e.Seq)
	if b, err = wire.Command(append(b, `,"command":`...), e.Command); err != nil {
		return b, err
	}
	b = wire.Text(append(b, `,"state":{"stage":`...), e.State.Stage)
	b = appendCount(b, `,"attempt":`, e.State.Attempt)
	b = appendCount(b, `,"round":`, e.State.Round)
	b = appendFlag(b, `,"verdict":true`, e.State.Verdict)
	b = append(appendFlag(b, `,"abandoned":true`, e.State.Abandoned), '}')
	b = appendText(b, `,"code":`, e.Code)
	b = appendText(b, `,"reason":`, e.Reason)
	if len(e.Result) > 0 {
		if b, err = wire.Raw(append(b, `,"result":`...), e.Result); err != nil {
			return b, err
		}
	}
	if b, err = appendTime(b, `,"not_before":`, e.NotBefore); err != nil {
		return b, err
	}
	if e.Cancel != nil {
		if b, err = wire.Time(append(b, `,"cancel":{"at":`...), e.Cancel.At); err != nil {
			return b, err
		}
		b = append(appendText(b, `,"reason":`, e.Cancel.Reason), '}')
	}
	b = appendText(b, `,"instance":`, e.Instance)
	b = appendText(b, `,"run":`, e.Run)
	if b, err = appendTime(b, `,"run_ends":`, e.RunEnds); err != nil {
		return b, err
	}
	if u := e.Unheard; u != nil {
		b = appendUnheard(append(b, `,"unheard":`...), u)
	}
	if b, err = appendTime(b, `,"updated_at":`, e.UpdatedAt); err != nil {
		return b, err
	}
	b = wire.Number(append(b, `,"version":`...), e.Version)
	for i := range e.History {
		if i == 0 {
			b = append(b, `,"history":[`...)
		} else {
			b = append(b, ',')
		}
		if b, err = appendStep(b, &e.History[i]); err != nil {
			return b, err
		}
	}
	if len(e.History) > 0 {
		b = append(b, ']')
	}
	if b, err = appendTime(b, `,"seen_at":`, e.SeenAt); err != nil {
		return b, err
	}
	b = appendFlag(b, `,"vm_forgotten":true`, e.Forgotten)
	return append(appendFlag(b, `,"unsent":true`, e.Unsent), '}'), nil
}

func appendUnheard(b []byte, u *ledger.Unheard) []byte {
	from := len(b)
	b = appendCount(b, `,"silent":`, u.Silent)
	b = appendCount(b, `,"missed":`, u.Missed)
	b = appendCount(b, `,"ended":`, u.Ended)
	b = appendText(b, `,"via":`, u.Via)
	if len(b) == from {
		return append(b, `{}`...)
	}
	b[from] = '{'
	return append(b, '}')
}

func appendStep(b []byte, s *ledger.Step) (_ []byte, err error) {
	b = wire.Text(append(b, `{"stage":`...), s.Stage)
	b = appendCount(b, `,"attempt":`, s.Attempt)
	if b, err = wire.Time(append(b, `,"at":`...), s.At); err != nil {
		return b, err
	}
	b = appendText(b, `,"code":`, s.Code)
	b = appendText(b, `,"reason":`, s.Reason)
	return append(appendFlag(b, `,"verdict":true`, s.Verdict), '}'), nil
}

func appendText[S ~string](b []byte, name string, s S) []byte {
	if s == "" {
		return b
	}
	return wire.Text(append(b, name...), s)
}

func appendCount(b []byte, name string, n int) []byte {
	if n == 0 {
		return b
	}
	return wire.Number(append(b, name...), n)
}

func appendFlag(b []byte, field string, is bool) []byte {
	if !is {
		return b
	}
	return append(b, field...)
}

func appendTime(b []byte, name string, t time.Time) ([]byte, error) {
	if t.IsZero() {
		return b, nil
	}
	return wire.Time(append(b, name...), t)
}

func decodeEntry(b []byte) (*ledger.Entry, error) {
	var e ledger.Entry
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("an entry does not decode: %w", err)
	}
	return &e, nil
}
