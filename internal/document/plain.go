package document

import (
	"encoding/binary"
	"math/bits"
)

// Eight bytes at a time: one in each byte, and the highest bit of each.
const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// Plain returns how many bytes at the front of b stand for themselves in a JSON string, and are ASCII:
// all but quotes, backslashes, control characters and what may need mending.
func Plain(b []byte) int {
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		// Taking away sets the highest bit of a byte that was smaller. It borrows from the next byte
		// only then, so the first mark is right; the later ones do not count.
		below := w - ' '*ones
		quote := w ^ '"'*ones - ones
		backslash := w ^ '\\'*ones - ones
		if marks := (below | quote | backslash | w) & highs; marks != 0 {
			return n + bits.TrailingZeros64(marks)/8
		}
	}
	for n < len(b) && ' ' <= b[n] && b[n] < 0x80 && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}
