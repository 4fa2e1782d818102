package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/web"
)

// shutdown is what a page would have VMs do.
const shutdown = `{"vm_id":"vm-1","type":"shutdown","parameters":{"force":true}}`

// said is what browsers add to a request of a page that is not the controller's, by the standards that they follow (Fetch,
// Fetch Metadata): TestPagesInABrowser has one of them do it. Over http:// to another machine there is no Sec-Fetch-Site,
// and in Safari before 16.4 there never is.
var said = map[string]map[string]string{
	"Chromium, fetch":                       {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty", "Origin": "http://evil.example", "Referer": "http://evil.example/"},
	"Chromium, of another port, image":      {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
	"Chromium, a page that hides itself":    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script", "Origin": "null"},
	"Chromium, a link":                      {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1", "Sec-Fetch-Dest": "document", "Upgrade-Insecure-Requests": "1"},
	"Chromium over http, EventSource":       {"Origin": "http://evil.example", "Referer": "http://evil.example/", "Accept": "text/event-stream"},
	"Chromium over http, form":              {"Origin": "null", "Upgrade-Insecure-Requests": "1"},
	"Firefox, beacon":                       {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty", "Origin": "http://evil.example", "Priority": "u=6"},
	"Firefox, image":                        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Referer": "http://evil.example/"},
	"Safari, form":                          {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Origin": "http://evil.example"},
	"Safari 15, fetch":                      {"Origin": "http://evil.example", "Referer": "http://evil.example/"},
	"a page of the same host, another port": {"Origin": "http://127.0.0.1:81", "Referer": "http://127.0.0.1:81/"},
}

const agentOfBrowsers = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"

// What browsers send for pages elsewhere is refused by every endpoint, and does nothing.
func TestPagesByHand(t *testing.T) {
	t.Parallel()
	for _, vmsAsked := range []bool{false, true} {
		s := serveAll(t, vmsAsked, false)
		addr := listen(t, web.NewServer(t.Context(), s.h, web.ServerOptions{}), false)
		for _, e := range endpoints(t, s.h) {
			for name, header := range said {
				for _, kind := range []string{"text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json", "application/grpc", ""} {
					status, answer := browse(t, addr, e, header, kind)
					require.Equal(t, http.StatusForbidden, status, "%s %s of %s as %q: %s", e.verb(), e.path, name, kind, answer)
					require.Contains(t, answer, `"code":"forbidden"`)
					if e.verb() == http.MethodGet {
						break
					}
				}
			}
		}
		s.untouched(t, "by hand")
	}
}

// browse sends a request as a browser does.
func browse(t *testing.T, addr string, e endpoint, header map[string]string, contentType string) (status int, answer string) {
	t.Helper()
	var body io.Reader = http.NoBody
	if e.verb() != http.MethodGet {
		body = strings.NewReader(shutdown)
	}
	req, err := http.NewRequestWithContext(t.Context(), e.verb(), "http://"+addr+e.path, body)
	require.NoError(t, err)
	req.Header = http.Header{"User-Agent": {agentOfBrowsers}, "Accept-Language": {"en-US,en;q=0.9"}, "Accept": {"*/*"}}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	if host := header["Host"]; host != "" {
		req.Header.Del("Host")
		req.Host = host
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

// An image on a page that says nothing of itself, over http:// to another machine, where browsers add nothing: a GET that
// would take a VM's place is refused, and one that only reads is what anybody could type.
func TestPagesThatHide(t *testing.T) {
	t.Parallel()
	s := serveAll(t, false, false)
	addr := listen(t, web.NewServer(t.Context(), s.h, web.ServerOptions{}), false)
	for _, e := range endpoints(t, s.h) {
		if e.method != http.MethodGet || !strings.HasPrefix(e.path, "/api/v1/") {
			continue
		}
		status, answer := browse(t, addr, e, nil, "")
		require.Equal(t, http.StatusForbidden, status, "%s: %s", e.path, answer)
	}
	s.untouched(t, "hidden")
	status, _ := browse(t, addr, endpoint{"GET", "/admin/v1/vms"}, nil, "")
	require.Equal(t, http.StatusOK, status)
}

// A page whose name leads to the controller is of the controller's origin for its browser. What is read without
// credentials is not for that name; an IP address, localhost, and names that were allowed are no stranger's.
func TestReboundNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		vmsAsked, operatorsAsked bool
		hosts                    []string
		host                     string
		vms, operators           int
	}{
		{host: "evil.example", vms: 403, operators: 403},
		{host: "evil.example:8080", vms: 403, operators: 403},
		{host: "localhost.evil.example", vms: 403, operators: 403},
		{host: "127.0.0.1.evil.example", vms: 403, operators: 403},
		{host: "evillocalhost", vms: 403, operators: 403},
		{host: "evil.example", hosts: []string{"good.example"}, vms: 403, operators: 403},
		{host: "evil.example", vmsAsked: true, vms: 401, operators: 403},
		{host: "evil.example", vmsAsked: true, operatorsAsked: true, vms: 401, operators: 401},
		{host: "127.0.0.1", vms: 200, operators: 200},
		{host: "127.0.0.1:8080", vms: 200, operators: 200},
		{host: "[::1]:8080", vms: 200, operators: 200},
		{host: "[fe80::1]", vms: 200, operators: 200},
		{host: "localhost:8080", vms: 200, operators: 200},
		{host: "LocalHost.", vms: 200, operators: 200},
		{host: "ci.localhost", vms: 200, operators: 200},
		{host: "Good.example:8080", hosts: []string{"other", "good.example"}, vms: 200, operators: 200},
		{host: "good.example.", hosts: []string{"good.example"}, vms: 200, operators: 200},
		{host: "evil.example", hosts: []string{"*"}, vms: 200, operators: 200},
	} {
		s := serveAll(t, test.vmsAsked, test.operatorsAsked, test.hosts...)
		addr := listen(t, web.NewServer(t.Context(), s.h, web.ServerOptions{}), false)
		for path, want := range map[string]int{"/api/v1/vms/vm-1/commands": test.vms, "/admin/v1/vms": test.operators, "/healthz": 200} {
			for _, site := range []string{"same-origin", "none"} {
				status, answer := browse(t, addr, endpoint{"GET", path}, map[string]string{"Sec-Fetch-Site": site, "Host": test.host}, "")
				require.Equal(t, want, status, "%+v %s: %s", test, path, answer)
				if want == http.StatusForbidden {
					require.Contains(t, answer, test.host[:9]) // which host
					require.Contains(t, answer, "--allow-host")
				}
			}
		}
	}
	for _, bad := range []string{"", "http://x", "x:8080", "*.example", "a b"} {
		require.Error(t, (&controllerCmd{AllowHost: []string{bad}}).checkHosts(), bad)
	}
	require.NoError(t, (&controllerCmd{AllowHost: []string{"*", "controller.internal"}}).checkHosts())
}

// What is no page goes on: curl, the command line, and somebody who types an address.
func TestNoPages(t *testing.T) {
	t.Parallel()
	s := serveAll(t, false, false)
	addr := listen(t, web.NewServer(t.Context(), s.h, web.ServerOptions{}), false)
	post := func(path, kind, body string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("User-Agent", "curl/8.5.0")
		req.Header.Set("Content-Type", kind)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		httplink.Drain(resp.Body)
		return resp.StatusCode
	}
	require.Equal(t, http.StatusCreated, post("/admin/v1/commands", "application/json", shutdown))                // curl --json
	require.Equal(t, http.StatusCreated, post("/admin/v1/commands", "application/json; charset=utf-8", shutdown)) // others
	require.Equal(t, http.StatusCreated, post("/admin/v1/commands", "application/vnd.x+json", shutdown))
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "", "application/jsonp", "text/json", "x+json", "multipart/form-data; boundary=x"} {
		require.Equal(t, http.StatusUnsupportedMediaType, post("/admin/v1/commands", kind, shutdown), kind)
		require.Equal(t, http.StatusUnsupportedMediaType, post("/admin/v1/commands/c-1/cancel", kind, "{}"), kind)
	}
	require.Equal(t, http.StatusOK, post("/api/v1/vms/vm-1/heartbeat", "application/x-www-form-urlencoded", "{}")) // curl -d

	client, err := admin.NewClient("http://"+addr+"/admin/v1", transport.Config{})
	require.NoError(t, err)
	status, err := client.Send(t.Context(), admin.Send{VM: "vm-1", Type: command.TypeDrain})
	require.NoError(t, err)
	_, err = client.Cancel(t.Context(), status.ID, "")
	require.NoError(t, err)
	for site, want := range map[string]int{"none": http.StatusOK, "same-origin": http.StatusOK, "cross-site": http.StatusForbidden} {
		code, _ := browse(t, addr, endpoint{"GET", "/admin/v1/vms"}, map[string]string{"Sec-Fetch-Site": site}, "")
		require.Equal(t, want, code, site)
	}
}

//go:embed testdata/attack.html
var attackPage string

// attack is what a page is told: where the controller is, and what it serves.
type attack struct {
	Base      string
	Endpoints []map[string]string
	Body      string
}

// TestPagesInABrowser has a real browser show a page that does its worst: of another site, of another port of the same
// host, and of a name that leads to the controller itself.
func TestPagesInABrowser(t *testing.T) {
	browser := needs.Program(t, "chromium")
	page := template.Must(template.New("attack").Parse(attackPage))
	for _, of := range []string{"another site", "another port", "a name that leads here"} {
		t.Run(of, func(t *testing.T) {
			s := serveAll(t, false, false)
			var mu sync.Mutex
			seen := map[string]int{} // requests that came to the controller, by method and path
			result := make(chan string, 1)
			evil := http.NewServeMux()
			var addr string
			evil.HandleFunc("GET /attack", func(w http.ResponseWriter, r *http.Request) {
				a := attack{Base: "http://" + addr, Body: shutdown}
				if of == "a name that leads here" {
					a.Base = "http://" + r.Host // its own origin
				}
				for _, e := range endpoints(t, s.h) {
					a.Endpoints = append(a.Endpoints, map[string]string{"method": e.verb(), "path": e.path, "type": e.contentType()})
				}
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				w.Header().Set("Referrer-Policy", "no-referrer")
				_ = page.Execute(w, a)
			})
			evil.HandleFunc("POST /result", func(_ http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				result <- string(b)
			})
			front := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/attack" || r.URL.Path == "/result" { // the attacker's server, before its name leads here
					evil.ServeHTTP(w, r)
					return
				}
				mu.Lock()
				seen[r.Method+" "+r.URL.Path]++
				mu.Unlock()
				s.h.ServeHTTP(w, r)
			})
			addr = listen(t, web.NewServer(t.Context(), front, web.ServerOptions{}), false)
			elsewhere := httptest.NewServer(evil)
			defer elsewhere.Close()
			u := url.URL{Scheme: "http", Path: "/attack"}
			switch of {
			case "another site":
				u.Host = "evil.example:" + port(t, elsewhere.Listener.Addr().String())
			case "another port":
				u.Host = elsewhere.Listener.Addr().String()
			default:
				u.Host = "evil.example:" + port(t, addr)
			}
			stop := show(t, browser, u.String())
			var got string
			select {
			case got = <-result:
			case <-time.After(patienceInBrowser):
				t.Error("the page has not come to its end")
			}
			stop()
			s.untouched(t, of)
			mu.Lock()
			defer mu.Unlock()
			t.Logf("requests that came to the controller: %v", seen)
			for _, e := range endpoints(t, s.h) {
				if e.method != http.MethodPut { // for which the page would have to ask first
					require.NotZero(t, seen[e.verb()+" "+e.path], "the page did not reach %s %s", e.verb(), e.path)
				}
			}
			var read []string
			require.NoError(t, json.Unmarshal([]byte(got), &read))
			for _, r := range read { // these say "ok" to everybody
				require.Regexp(t, `^GET /(healthz|livez|readyz(/[a-z]+)?) 200$`, r, "the page has read an answer")
			}
		})
	}
}

// patienceInBrowser bounds the wait for a browser, on a busy machine.
const patienceInBrowser = 60 * time.Second

func port(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return port
}

// show has a browser show a page until stop is called.
func show(t *testing.T, browser, page string) (stop func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "miglink-browser-")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server",
		"--disable-features=LocalNetworkAccessChecks", // which asks the user: the controller must not rely on the answer
		"--host-resolver-rules=MAP evil.example 127.0.0.1", "--user-data-dir="+dir, "--remote-debugging-port=0", page)
	alone(cmd)
	said, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if line := lines.Text(); !strings.Contains(line, "/dbus/") && !strings.Contains(line, ":dbus/") { // which it can do without
				fmt.Fprintln(t.Output(), "chromium:", line)
			}
		}
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			<-read
			_ = cmd.Wait() // it was killed
			_ = os.RemoveAll(dir)
		})
	}
	t.Cleanup(stop)
	return stop
}
