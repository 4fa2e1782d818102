package programs

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/miglink/miglink/internal/document"
)

// maxOutput is how many bytes of what a program prints are kept: the last.
const maxOutput = 2 << 10

// output collects what a program prints, until it is read to its end, or end is called.
type output struct {
	pipe   *os.File
	tail   tail
	copied chan struct{} // closed when nobody reads pipe any more
	err    error         // why; nil: all who could print have closed it
}

func collect(pipe *os.File) *output {
	o := &output{pipe: pipe, copied: make(chan struct{})}
	go func() {
		defer close(o.copied)
		_, o.err = io.Copy(&o.tail, pipe)
	}()
	return o
}

// end returns what was printed until now. A process that is left may go on printing: that is read, so that it does
// not wait, or die of a broken pipe, and nobody keeps it.
func (o *output) end() string {
	if !o.settle() {
		o.pipe.Close()
	}
	return o.tail.text()
}

// tail keeps the end of what is written to it.
type tail struct {
	mu    sync.Mutex
	b     []byte
	total int64
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total += int64(len(p))
	kept := p[max(0, len(p)-maxOutput):]
	over := max(0, len(t.b)+len(kept)-maxOutput)
	t.b = append(append(t.b[:0], t.b[over:]...), kept...)
	return len(p), nil
}

// text is what is kept, as text: what is not UTF-8, and NULs, become U+FFFD. It begins with a note if there was more.
func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.b
	if t.total > int64(len(kept)) { // perhaps in the middle of a character
		for range utf8.UTFMax - 1 {
			if len(kept) > 0 && !utf8.RuneStart(kept[0]) {
				kept = kept[1:]
			}
		}
	}
	text := strings.TrimSpace(document.Mend(string(kept), len(document.Replacement)*maxOutput))
	if out := t.total - int64(len(kept)); out > 0 {
		return fmt.Sprintf("[the first %d bytes are left out]\n%s", out, text)
	}
	return text
}
