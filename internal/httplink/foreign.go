package httplink

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/miglink/miglink/internal/printable"
	"github.com/miglink/miglink/transport"
)

// maxHeader bounds what an error repeats of a line of an answer that is not ours, in bytes.
const maxHeader = 100

// Foreign is the error of an answer that is not our controller's. Why says what shows that, where the status does not.
func Foreign(resp *http.Response, why string) *transport.ForeignError {
	var b strings.Builder
	b.WriteString("something between here and the controller, or another server at its address, answered ")
	b.WriteString(printable.Cut(resp.Status, maxHeader))
	sep := " ("
	add := func(name, value string) {
		if value != "" {
			b.WriteString(sep + name + " " + printable.Cut(value, maxHeader))
			sep = ", "
		}
	}
	add("Server", resp.Header.Get("Server"))
	add("Via", resp.Header.Get("Via"))
	add("Content-Type", resp.Header.Get("Content-Type"))
	where, _, _ := strings.Cut(resp.Header.Get("Location"), "?")
	add("Location", where)
	if sep != " (" {
		b.WriteByte(')')
	}
	if why != "" {
		b.WriteString(": " + why)
	}
	return &transport.ForeignError{Status: resp.StatusCode, Message: b.String(), RetryAfter: retryAfter(resp.Header)}
}

// retryAfter reads the header in both of its forms (RFC 9110, section 10.2.3). A date counts from that of the answer: the
// two clocks may differ by more than the pause.
func retryAfter(h http.Header) time.Duration {
	s := h.Get("Retry-After")
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, transport.MaxForeignRetryAfter)
	}
	until, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return min(max(until.Sub(now), 0), transport.MaxForeignRetryAfter)
}

func mediaType(resp *http.Response) string {
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return kind
}

// CheckJSON returns a *transport.ForeignError unless an answer is a success that says to be JSON, as all of ours are.
func CheckJSON(resp *http.Response) error {
	if mediaType(resp) != "application/json" {
		return Foreign(resp, "it is not JSON")
	}
	return nil
}

// CheckStream is CheckJSON for an event stream.
func CheckStream(resp *http.Response) error {
	if mediaType(resp) != "text/event-stream" {
		return Foreign(resp, "it is not an event stream")
	}
	return nil
}

// maxReceipt bounds the answer to acks or events that were taken, in bytes.
const maxReceipt = 4 << 10

// Receipt is the answer to acks or events that were taken, all of them.
type Receipt struct {
	Recorded *int `json:"recorded,omitempty"` // acks
	Taken    *int `json:"taken,omitempty"`    // events
}

// ReadReceipt reads an answer with status 200. What is no receipt is a *transport.ForeignError.
func ReadReceipt(resp *http.Response) (Receipt, error) {
	var r Receipt
	if err := CheckJSON(resp); err != nil {
		return r, err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReceipt))
	if err == nil && json.Unmarshal(b, &r) != nil {
		err = Foreign(resp, "it does not say what was taken")
	}
	return r, err
}
