package httplink_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/transport"
)

func TestParseBase(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"http://c":               "http://c/api/v1",
		"https://c:8443/":        "https://c:8443/api/v1",
		"http://c/some/prefix/":  "http://c/some/prefix",
		"http://[::1]:80/api/v1": "http://[::1]:80/api/v1",
	} {
		u, err := httplink.ParseBase(raw)
		require.NoError(t, err)
		require.Equal(t, want, u.String())
	}
	for raw, want := range map[string]string{
		"":                      "neither http:// nor https://",
		"c:8080":                "neither http:// nor https://",
		"127.0.0.1:8080":        "does not parse",
		"ws://c":                "neither http:// nor https://",
		"http://":               "has no host",
		"http://c?x=1":          "has a query or a fragment",
		"http://c#x":            "has a query or a fragment",
		"http://u:s3cret@c":     "holds credentials",
		"http://u:s3cret@c\x7f": "does not parse",
		"x://u:s3cret@c":        "neither http:// nor https://",
	} {
		_, err := httplink.ParseBase(raw)
		require.ErrorContains(t, err, want, raw)
		require.NotContains(t, err.Error(), "s3cret")
	}
}

// A name of a VM is one segment of a path, whatever is in it, and arrives as it is.
func TestVMURL(t *testing.T) {
	t.Parallel()
	base, err := url.Parse("http://c/a%2Fb")
	require.NoError(t, err)
	for _, vm := range []string{"vm-1", "pool/vm", "ü %2F?#", "a..b", "%", "~!'()", "a//b", "../x", "a;b=c", "=", "==3D", "=vm", "a=b", "+1", "x:y@z", "a\\b"} {
		u := httplink.VMURL(base, vm, "commands", "ws").String()
		require.NotContains(t, strings.TrimPrefix(u, "http://c/a%2Fb"), "%", "nothing is left that a proxy would decode")
		r, err := http.NewRequest(http.MethodGet, u, nil)
		require.NoError(t, err)
		mux := http.NewServeMux()
		got := ""
		mux.HandleFunc("GET /{base}/vms/{vm_id}/commands/ws", func(_ http.ResponseWriter, r *http.Request) {
			got, err = httplink.VM(r)
		})
		mux.ServeHTTP(httptest.NewRecorder(), r)
		require.NoError(t, err)
		require.Equal(t, vm, got)
	}
}

// A name may be written with escapes of URLs as well, and one that begins with "=" only so as Segment does.
func TestNamesInPaths(t *testing.T) {
	t.Parallel()
	for segment, want := range map[string]string{
		"vm-1": "vm-1", "pool%2Fvm": "pool/vm", "=pool=2Fvm": "pool/vm", "=pool=2fvm": "pool/vm", "%3Dpool%3D2Fvm": "pool/vm", "==3Dvm": "=vm", "a=b": "a=b",
		"=a=": "", "=a=2": "", "=a=2G": "", "=a=+1": "", "=": "", "=..": "", "=a=2A": "", "=a=00": "",
	} {
		r, err := http.NewRequest(http.MethodGet, "http://c/"+segment, nil)
		require.NoError(t, err)
		var mux http.ServeMux
		mux.HandleFunc("/{vm_id}", func(_ http.ResponseWriter, r *http.Request) {
			vm, err := httplink.VM(r)
			if want == "" {
				require.ErrorIs(t, err, transport.ErrInvalid, segment)
				return
			}
			require.NoError(t, err, segment)
			require.Equal(t, want, vm, segment)
		})
		mux.ServeHTTP(httptest.NewRecorder(), r)
	}
}

func TestHello(t *testing.T) {
	t.Parallel()
	read := func(query string) (transport.Hello, error) {
		r := httptest.NewRequest(http.MethodGet, "/?"+query, nil)
		r.SetPathValue("vm_id", "vm-1")
		return httplink.Hello(r)
	}
	full := transport.Hello{VM: "vm-1", Instance: "i &=", After: "e.1.0", Window: 7, Alive: 15 * time.Second, Via: "sse, ws"}
	got, err := read(httplink.Query(full).Encode())
	require.NoError(t, err)
	require.Equal(t, full, got)
	got, err = read("")
	require.NoError(t, err)
	require.Equal(t, transport.Hello{VM: "vm-1"}, got)
	long := strings.Repeat("x", 200)
	for _, query := range []string{"instance=" + long, "via=" + long, "after=" + long, "window=x", "window=-1", "alive=15", "alive=1ms", "alive=1h"} {
		_, err := read(query)
		require.ErrorIs(t, err, transport.ErrInvalid, query)
	}
}

// What a controller says arrives as it was said.
func TestProblems(t *testing.T) {
	t.Parallel()
	for code, status := range map[transport.Code]int{
		transport.CodeUnavailable: 503, transport.CodeSuperseded: 409, transport.CodeUnauthorized: 401, transport.CodeRevoked: 403,
		transport.CodeUnknownCommand: 404, transport.CodeTooLarge: 413, transport.CodeQueueFull: 429, "of_a_later_version": 500,
	} {
		said := &transport.Error{Code: code, Message: "why \"so\"", RetryAfter: 1500 * time.Millisecond}
		w := httptest.NewRecorder()
		httplink.WriteError(w, fmt.Errorf("wrapped: %w", said))
		resp := w.Result()
		require.Equal(t, status, resp.StatusCode, code)
		require.Equal(t, "2", resp.Header.Get("Retry-After"))
		require.Equal(t, status == http.StatusUnauthorized, resp.Header.Get("WWW-Authenticate") != "")
		require.Equal(t, said, httplink.ReadError(resp))
	}
	w := httptest.NewRecorder()
	httplink.WriteError(w, errors.New("the disk of db-7 is full"))
	require.Equal(t, transport.ErrInternal, httplink.ReadError(w.Result()))
	require.NotContains(t, w.Body.String(), "db-7")
}

// What is no problem document of ours is something else's answer: it refuses nothing, and has nobody wait for long.
func TestForeignAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status          int
		mediaType, body string
	}{
		{200, "application/json", `{}`},
		{204, "", ""},
		{302, "", ""},
		{401, "text/html", "<html>"},
		{403, "application/json", `{"type":"urn:miglink:error:revoked","code":"revoked"}`},
		{403, httplink.MediaType, `{"type":"about:blank","code":"revoked"}`},
		{409, httplink.MediaType, `{"type":"urn:miglink:error:revoked","code":"superseded"}`},
		{409, httplink.MediaType, `{"code":"superseded"}`},
		{413, "", ""},
		{503, httplink.MediaType, "{"},
		{503, httplink.MediaType, `{"type":"urn:miglink:error:","code":""}`},
		{503, httplink.MediaType, `{"type":"urn:miglink:error:x","code":"x","retry_after":-1}`},
		{503, httplink.MediaType, `{"type":"urn:miglink:error:x","code":"x","retry_after":1e300}`},
	} {
		err := httplink.ReadError(&http.Response{
			StatusCode: test.status, Status: http.StatusText(test.status),
			Header: http.Header{"Content-Type": {test.mediaType}, "Server": {"squid/5.7"}, "Location": {"http://portal/login?for=me"}},
			Body:   io.NopCloser(strings.NewReader(test.body)),
		})
		var e *transport.ForeignError
		require.ErrorAs(t, err, &e, "%+v", test)
		require.Equal(t, test.status, e.Status)
		require.ErrorContains(t, err, http.StatusText(test.status))
		require.ErrorContains(t, err, "Server squid/5.7")
		require.ErrorContains(t, err, "Location http://portal/login)")
		require.False(t, errors.As(err, new(*transport.Error)), "%+v", test)
		require.False(t, transport.Refused(err) || transport.Terminal(err))
	}
}

// Who is not the controller has an agent wait for minutes at most, by whatever form of the header, and whatever the time is
// at either end.
func TestForeignRetryAfter(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for _, test := range []struct {
		header, date string
		wait         time.Duration
	}{
		{"7", "", 7 * time.Second},
		{"93600", "", 5 * time.Minute},
		{"999999999999", "", 0},
		{"soon", "", 0},
		{"-1", "", 0},
		{at(time.Minute), "", time.Minute},
		{at(26 * time.Hour), "", 5 * time.Minute},
		{"Mon, 02 Jan 2006 15:04:05 GMT", "", 0},
		{at(-time.Hour + time.Minute), at(-time.Hour), time.Minute},
		{at(24*time.Hour + time.Minute), at(24 * time.Hour), time.Minute},
		{at(0), at(time.Hour), 0},
	} {
		err := httplink.ReadError(&http.Response{
			StatusCode: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {test.header}, "Date": {test.date}}, Body: http.NoBody,
		})
		require.InDelta(t, test.wait, transport.RetryAfter(err), float64(30*time.Second), "%+v", test)
		require.GreaterOrEqual(t, transport.RetryAfter(err), time.Duration(0))
		require.LessOrEqual(t, transport.RetryAfter(err), transport.MaxForeignRetryAfter)
	}
}

// What the controller itself asks for counts.
func TestRetryAfterOfTheController(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	httplink.WriteError(w, &transport.Error{Code: transport.CodeUnavailable, RetryAfter: time.Hour})
	require.Equal(t, time.Hour, transport.RetryAfter(httplink.ReadError(w.Result())))
}

// A bearer token is what Authorization says, by whatever case of its scheme.
func TestCredentials(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for header, token := range map[string]string{"": "", "bearer  s3cret ": "s3cret", "Bearer s3cret": "s3cret", "Basic s3cret": "", "s3cret": ""} {
		r.Header.Set("Authorization", header)
		require.Equal(t, transport.Credentials{Token: token, Remote: r.RemoteAddr}, httplink.Credentials(r), header)
	}
}

// A certificate that the server has not verified is none.
func TestCertificate(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	c := &x509.Certificate{}
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}}
	require.Nil(t, httplink.Credentials(r).Certificate)
	r.TLS.VerifiedChains = [][]*x509.Certificate{{c}}
	require.Same(t, c, httplink.Credentials(r).Certificate)
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	require.NoError(t, httplink.Authorize(t.Context(), h, nil))
	require.Empty(t, h)
	require.NoError(t, httplink.Authorize(t.Context(), h, func(context.Context) (string, error) { return "t", nil }))
	require.Equal(t, "Bearer t", h.Get("Authorization"))
}

// A client follows no redirect: it would carry the token to somebody else.
func TestNoRedirects(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer elsewhere.Close()
	s := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	client := httplink.NewClient(nil)
	defer client.CloseIdleConnections()
	resp, err := client.Get(s.URL)
	require.NoError(t, err)
	httplink.Drain(resp.Body)
	require.Equal(t, http.StatusTemporaryRedirect, resp.StatusCode)
}

func FuzzProblem(f *testing.F) {
	f.Add([]byte(`{"type":"urn:miglink:error:unavailable","code":"unavailable","retry_after":1.5,"refused":[{"index":0,"code":"invalid"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := httplink.ReadError(&http.Response{
			StatusCode: http.StatusConflict, Header: http.Header{"Content-Type": {httplink.MediaType}}, Body: io.NopCloser(strings.NewReader(string(b))),
		})
		if e := (*transport.Error)(nil); errors.As(err, &e) && e.Code != "" && e.RetryAfter >= 0 {
			return
		}
		if !errors.As(err, new(*transport.ForeignError)) {
			t.Fatalf("%v", err)
		}
	})
}

// FuzzHello reads what a peer asks for; what is accepted is the same when it is passed on, as a relay
// does.
func FuzzHello(f *testing.F) {
	f.Add("instance=i&after=e.1.0&window=7&alive=15s&via=sse")
	f.Add("window=99999999999999999999&alive=-1s&after=%ff")
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.RawQuery = query
		r.SetPathValue("vm_id", "vm-1")
		h, err := httplink.Hello(r)
		if err != nil {
			return
		}
		r.URL.RawQuery = httplink.Query(h).Encode()
		again, err := httplink.Hello(r)
		if err != nil || again != h {
			t.Fatalf("%+v became %+v, %v", h, again, err)
		}
	})
}

// TLS 1.2 is spoken by a client of which somebody has said so.
func TestOldTLS(t *testing.T) {
	t.Parallel()
	ca := certtest.NewAuthority(t)
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = certtest.Old(t, ca)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	get := func(c *tls.Config) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, http.NoBody)
		require.NoError(t, err)
		client := httplink.NewClient(c)
		defer client.CloseIdleConnections()
		return client.Do(req)
	}
	_, err := get(&tls.Config{RootCAs: ca.Pool()})
	require.ErrorContains(t, err, "protocol version")
	resp, err := get(&tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12})
	require.NoError(t, err)
	httplink.Drain(resp.Body)
	require.EqualValues(t, tls.VersionTLS12, resp.TLS.Version)
}

// A problem document names the command that a send came upon. Who has written it may be anybody.
func TestProblemOfAnotherCommand(t *testing.T) {
	t.Parallel()
	answer := func(err error) *transport.Error {
		w := httptest.NewRecorder()
		httplink.WriteError(w, err)
		var said *transport.Error
		require.ErrorAs(t, httplink.ReadError(w.Result()), &said)
		return said
	}
	e := &transport.Error{Code: transport.CodeKeyReused, Message: "taken", CommandID: "c-1", Stage: ack.Started}
	require.Equal(t, e, answer(e))
	e = answer(&transport.Error{Code: transport.CodeKeyReused, CommandID: strings.Repeat("x", 1000) + "\n", Stage: "nonsense"})
	require.LessOrEqual(t, len(e.CommandID), 140)
	require.Empty(t, e.Stage)
	require.Empty(t, answer(transport.Errorf(transport.CodeInvalid, "no")).CommandID)
}
