package admin

import (
	"bytes"
	"net/http"
	"time"

	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/wirejson"
)

const (
	// maxPage bounds the elements of one answer, in bytes of JSON. A command has up to 64 KiB of result and 32 reasons
	// of 4 KiB, so a thousand of them may not come at once.
	maxPage = 4 << 20
	// pageTimeout is for the client to take it.
	pageTimeout = 60 * time.Second
)

// page is the answer to a request for a list, as far as it has been made.
type page struct {
	b    bytes.Buffer // the elements, with commas between
	n    int
	full bool // there was no room for one more
}

// add adds an element if there is room for it, which there always is for one. It returns whether it did.
func (p *page) add(v any) (bool, error) {
	end := p.b.Len()
	if p.n > 0 {
		p.b.WriteByte(',')
	}
	if err := wirejson.Encode(&p.b, v); err != nil {
		return false, err
	}
	if p.n > 0 && p.b.Len() > maxPage {
		p.b.Truncate(end)
		p.full = true
		return false, nil
	}
	p.n++
	return true, nil
}

// write answers with the page, under a name. If there is more, next is the field that says where that begins.
func (p *page) write(w http.ResponseWriter, name, next string) {
	var all bytes.Buffer
	all.Grow(p.b.Len() + len(name) + len(next) + 64)
	all.WriteString(`{"` + name + `":[`)
	all.Write(p.b.Bytes())
	all.WriteByte(']')
	if next != "" {
		all.WriteString(`,"more":true,` + next)
	}
	all.WriteByte('}')
	p.b = bytes.Buffer{} // it may take its time from here on
	deadline := http.NewResponseController(w)
	_ = deadline.SetWriteDeadline(time.Now().Add(pageTimeout)) // not all can
	defer deadline.SetWriteDeadline(time.Time{})               //nolint:errcheck // the connection goes on
	httplink.WriteBody(w, all.Bytes())
	_ = deadline.Flush() // while the place is taken: what waits in the server is memory, too
}
