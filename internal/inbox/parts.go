package inbox

import "github.com/miglink/miglink/transport"

// Parts are the answers to acks that went in several messages. They come in order, one at a time.
type Parts struct {
	Done func(error) // is called once, with the answer to them all
	errs transport.AckErrors
}

// Answer is the answer to n more of them, the last ones perhaps.
func (p *Parts) Answer(err error, n int, last bool) {
	if p.Done == nil {
		return
	}
	if err != nil && !transport.Refused(err) {
		p.Done(err)
		p.Done = nil
		return
	}
	for i := range n {
		p.errs = append(p.errs, transport.AckError(err, i))
	}
	if last {
		p.Done(p.errs.Of())
	}
}
