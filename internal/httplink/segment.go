package httplink

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/miglink/miglink/transport"
)

// encoded begins a segment of a path that holds a name in another form.
const encoded = "="

// Segment is a name as one segment of a path. Proxies decode %2F, merge slashes, cut at semicolons and write other escapes
// anew, so a name that would take any is written as "=" and then letters, digits, "-", ".", "_" and "~" as they are, and
// each other byte as "=" and two hexadecimal digits. So is one that begins with "=" itself.
func Segment(name string) string {
	if url.PathEscape(name) == name && !strings.HasPrefix(name, encoded) {
		return name
	}
	var b strings.Builder
	b.WriteString(encoded)
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// PathValue is the name in a segment of a request's path, in either form.
func PathValue(r *http.Request, key string) (string, error) {
	s := r.PathValue(key)
	rest, is := strings.CutPrefix(s, encoded)
	if !is {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(rest); i++ {
		if rest[i] != '=' {
			b.WriteByte(rest[i])
			continue
		}
		c, err := strconv.ParseUint(rest[i+1:min(i+3, len(rest))], 16, 8)
		if err != nil || i+2 >= len(rest) {
			return "", transport.Errorf(transport.CodeInvalid, "%s begins with = in the path, and holds a = without two hexadecimal digits after it: write a name so as PROTOCOL.md says", key)
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), nil
}
