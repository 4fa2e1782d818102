package framed_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// A frame of empty elements is refused before much was made of them: each takes a hundred times its JSON.
func TestListsAreBounded(t *testing.T) {
	for _, open := range []string{`{"n":1,"acks":[`, `{"n":1,"events":[`, `{"n":1,"commands":[`, `{"n":1,"recorded":{"upto":1,"refused":[`} {
		frame := []byte(open + strings.TrimSuffix(strings.Repeat(`{},`, 500_000), ",") + `]}`)
		before := allocated()
		_, err := framed.Decode(frame)
		require.Less(t, allocated()-before, uint64(4<<20), open)
		require.ErrorIs(t, err, transport.ErrTooLarge, open)
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
