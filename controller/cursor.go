package controller

import (
	"strconv"
	"strings"

	"github.com/miglink/miglink/transport"
)

// position is what a cursor says: in this ledger, everything up to these sequence numbers has
// arrived, one per lane because urgent commands overtake.
type position struct {
	normal, urgent uint64
}

func (p position) cursor(epoch string) transport.Cursor {
	b := append(make([]byte, 0, transport.MaxCursor), epoch...)
	b = strconv.AppendUint(append(b, '.'), p.normal, 10)
	b = strconv.AppendUint(append(b, '.'), p.urgent, 10)
	return transport.Cursor(b)
}

// parseCursor returns the start for a cursor that is empty, of another ledger, or makes no sense.
func parseCursor(c transport.Cursor, epoch string) (p position, ok bool) {
	if len(c) > transport.MaxCursor {
		return position{}, false
	}
	parts := strings.Split(string(c), ".")
	if len(parts) != 3 || parts[0] != epoch {
		return position{}, false
	}
	normal, err1 := strconv.ParseUint(parts[1], 10, 64)
	urgent, err2 := strconv.ParseUint(parts[2], 10, 64)
	if err1 != nil || err2 != nil {
		return position{}, false
	}
	return position{normal: normal, urgent: urgent}, true
}
