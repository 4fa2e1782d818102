package arch_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/miglink/miglink"

// rooms say what each package of ours may import of ours, and which libraries it may bring in. A
// package that is not here has no place yet: decide on one, and write it down in DESIGN.md, too.
var rooms = map[string]struct{ ours, libraries string }{
	"internal/document":        {"", ""},
	"internal/clock":           {"", ""},
	"internal/setaside":        {"internal/logfile", ""},
	"internal/wirejson":        {"", ""},
	"internal/logfile":         {"", "x/sys"},
	"internal/lockfile":        {"", "x/sys"},
	"internal/programs":        {"internal/document internal/lockfile internal/logfile internal/private", "x/sys"},
	"internal/readiness":       {"", "x/sys"},
	"internal/printable":       {"", ""},
	"internal/safely":          {"", ""},
	"internal/strict":          {"internal/printable", "go-json-experiment"},
	"internal/peerlog":         {"internal/printable internal/safely transport", ""},
	"internal/wire":            {"ack command internal/document transport", "go-json-experiment"},
	"command":                  {"internal/document internal/wirejson", "google/uuid"},
	"ack":                      {"internal/document", ""},
	"event":                    {"internal/document", ""},
	"transport":                {"ack command event internal/printable internal/safely", "cenkalti/backoff"},
	"internal/httplink":        {"ack internal/peerlog internal/printable internal/readiness internal/secure internal/wire internal/wirejson transport", ""},
	"internal/pattern":         {"", ""},
	"internal/lowest":          {"", ""},
	"internal/private":         {"", ""},
	"auth":                     {"internal/pattern internal/private transport", "golang-jwt/jwt"},
	"auth/oidc":                {"transport", "coreos/go-oidc x/sync"},
	"auth/gce":                 {"transport", "cloud.google.com/go/compute/metadata golang-jwt/jwt"},
	"internal/secure":          {"", ""},
	"internal/door":            {"internal/peerlog internal/safely transport", ""},
	"internal/inbox":           {"internal/safely transport", ""},
	"internal/outlet":          {"internal/safely transport", ""},
	"transport/tlsfile":        {"internal/private", ""},
	"transport/framed":         {"ack command event internal/inbox internal/outlet internal/safely internal/wire internal/wirejson transport", ""},
	"transport/ws":             {"internal/door internal/httplink internal/peerlog internal/readiness internal/secure transport transport/framed", "gorilla/websocket"},
	"transport/grpc":           {"ack command event internal/document internal/door internal/httplink internal/peerlog internal/printable internal/secure internal/wirejson transport transport/framed transport/grpc/miglinkv1 transport/grpc/miglinkv1/miglinkv1connect", "connectrpc.com google.golang.org/protobuf"},
	"transport/grpc/miglinkv1": {"", "google.golang.org/protobuf"},
	"transport/grpc/miglinkv1/miglinkv1connect": {"transport/grpc/miglinkv1", "connectrpc.com google.golang.org/protobuf"},
	"internal/broker":        {"internal/door internal/peerlog internal/safely transport transport/framed", "cenkalti/backoff x/sync"},
	"transport/nats":         {"internal/broker internal/peerlog internal/safely internal/secure transport transport/framed", "google/uuid nats-io/nats.go"},
	"transport/redis":        {"internal/broker internal/peerlog internal/safely internal/secure transport transport/framed", "google/uuid redis/go-redis"},
	"transport/rabbitmq":     {"internal/broker internal/peerlog internal/safely internal/secure transport transport/framed transport/tlsfile", "google/uuid rabbitmq/amqp091-go"},
	"transport/gcppubsub":    {"internal/broker internal/peerlog internal/safely internal/secure transport transport/framed", "google/uuid cloud.google.com/go/compute/metadata cloud.google.com/go/pubsub googleapis/gax-go google.golang.org x/sync"},
	"transport/uplink":       {"ack event internal/document internal/door internal/httplink internal/inbox internal/outlet internal/peerlog internal/secure internal/wire internal/wirejson transport", ""},
	"transport/sse":          {"ack command event internal/door internal/httplink internal/inbox internal/outlet internal/peerlog internal/safely internal/secure internal/wire internal/wirejson transport transport/uplink", "tmaxmax/go-sse"},
	"transport/longpoll":     {"ack internal/door internal/httplink internal/inbox internal/peerlog internal/safely internal/secure internal/wire internal/wirejson transport transport/uplink", ""},
	"transport/web":          {"internal/httplink internal/peerlog internal/safely internal/peerlog internal/secure transport transport/longpoll transport/sse transport/uplink transport/ws", ""},
	"transport/fault":        {"ack event transport", ""},
	"ledger":                 {"ack command internal/document internal/safely transport", ""},
	"ledger/internal/index":  {"command ledger", ""},
	"ledger/memory":          {"ack command internal/lowest internal/safely ledger ledger/internal/index", "google/uuid"},
	"ledger/bolt":            {"ack command internal/document internal/logfile internal/lowest internal/private internal/safely internal/setaside internal/wire ledger ledger/internal/index", "go.etcd.io/bbolt google/uuid"},
	"ledger/ledgertest":      {"ack command ledger transport", "testify"},
	"controller":             {"ack command event internal/document internal/lowest internal/pattern internal/peerlog internal/safely ledger transport", "google/uuid x/sync"},
	"controller/admin":       {"ack command controller internal/httplink internal/pattern internal/peerlog internal/printable internal/safely internal/strict internal/wirejson ledger transport", "google/uuid tmaxmax/go-sse"},
	"controller/audit":       {"controller/admin internal/logfile internal/private internal/wirejson", ""},
	"agent/internal/journal": {"ack internal/document internal/lockfile internal/logfile internal/private internal/setaside internal/wirejson transport", "x/sys"},
	"agent":                  {"ack agent/internal/journal command event internal/clock internal/document internal/peerlog internal/safely internal/wirejson transport", "google/uuid cenkalti/backoff"},
	"conformance":            {"ack agent command controller event ledger ledger/bolt ledger/memory transport transport/fault transport/web", "go-pretty"},
	"conformance/subjects":   {"ack conformance ledger ledger/bolt transport transport/framed transport/gcppubsub transport/grpc transport/grpc/miglinkv1 transport/longpoll transport/nats transport/rabbitmq transport/redis transport/sse transport/web transport/ws", "alicebob/miniredis cloud.google.com/go/pubsub google/uuid google.golang.org gorilla/websocket nats-io rabbitmq/amqp091-go redis/go-redis"},
	"bench":                  {"ack agent command controller controller/admin ledger ledger/bolt ledger/memory transport transport/fault transport/grpc transport/grpc/miglinkv1 transport/grpc/miglinkv1/miglinkv1connect transport/longpoll transport/nats transport/rabbitmq transport/redis transport/sse transport/web transport/ws", "*"},
	"internal/arch":          {"", ""},
	"internal/licenses":      {"", ""},
	"internal/memnet":        {"", ""},
	"internal/hostile":       {"", ""},
	"internal/needs":         {"", ""},
	"internal/linktest":      {"ack internal/inbox transport", ""},
	"internal/certtest":      {"", "testify"},
	"internal/brokertest":    {"ack agent command controller internal/needs ledger ledger/memory transport transport/fault transport/web transport/ws", "testify"},
	"internal/simulation":    {"", ""},

	"internal/suites/overbrokers": {"", ""},
	"internal/suites/overhttp":    {"", ""},
	"cmd/miglink":                 {"*", "*"},
}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath, Name, Dir, Doc                        string
	Imports, Deps, GoFiles, TestGoFiles, XTestGoFiles []string
	IgnoredGoFiles                                    []string // those of other systems
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	require.NoError(t, err)
	var pkgs []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p pkg
		require.NoError(t, d.Decode(&p))
		pkgs = append(pkgs, p)
	}
	return pkgs
}

// foreign says whether an import is neither ours nor the standard library's.
func foreign(path string) bool {
	return strings.Contains(strings.Split(path, "/")[0], ".") && !strings.HasPrefix(path, module)
}

func contains(allowed, path string) bool {
	return slices.ContainsFunc(strings.Fields(allowed), func(s string) bool { return s == "*" || strings.Contains(path, s) })
}

func TestImportsPointInward(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		found[name] = true
		room, ok := rooms[name]
		if !ok {
			t.Errorf("%s has no room: say in this test what it may import", name)
			continue
		}
		for _, path := range p.Imports {
			if ours, is := strings.CutPrefix(path, module+"/"); is {
				if room.ours != "*" && !slices.Contains(strings.Fields(room.ours), ours) {
					t.Errorf("%s imports %s, which is not below it", name, ours)
				}
			} else if foreign(path) && !contains(room.libraries, path) {
				t.Errorf("%s imports %s, which is not its business", name, path)
			}
		}
	}
	for name := range rooms {
		require.True(t, found[name], "there is no %s any more", name)
	}
}

// A MIGlet that speaks WebSocket links what it needs for that, and neither a store nor a broker nor
// gRPC, nor what other transports need.
func TestASmallAgentLinksLittle(t *testing.T) {
	t.Parallel()
	const allowed = "github.com/cenkalti/backoff github.com/golang-jwt/jwt github.com/go-json-experiment/json github.com/google/uuid github.com/gorilla/websocket golang.org/x/sys"
	for _, p := range list(t, "./agent", "./transport/ws", "./auth") {
		for _, path := range p.Deps {
			if foreign(path) && !contains(allowed, path) {
				t.Errorf("%s links %s", p.ImportPath, path)
			}
			if ours, is := strings.CutPrefix(path, module+"/"); is && slices.ContainsFunc(
				[]string{"ledger", "controller", "conformance", "transport/sse", "transport/longpoll", "transport/fault"},
				func(s string) bool { return strings.HasPrefix(ours, s) }) {
				t.Errorf("%s links %s", p.ImportPath, ours)
			}
		}
	}
}

// The standard testing package and its friends are for tests; conformance.Test and ledgertest.Test
// are tests that others run.
func TestNoTestHelperIsLinked(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "./auth/...", "./cmd/...", "./agent", "./controller/...", "./transport/...", "./ledger/bolt", "./ledger/memory") {
		for _, path := range p.Deps {
			if contains("stretchr/testify pgregory.net/rapid go.uber.org/goleak ledger/ledgertest", path) {
				t.Errorf("%s links %s", p.ImportPath, path)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		prefix := "Package " + p.Name + " "
		if p.Name == "main" {
			prefix = "Command "
		}
		if generated(p) {
			continue
		}
		require.True(t, strings.HasPrefix(p.Doc, prefix), "%s has no doc comment", name)
		if p.Name == "main" || strings.Contains(name, "internal/") || slices.Equal(p.GoFiles, []string{"doc.go"}) {
			continue // there is nothing to call
		}
		if !hasExample(t, p) {
			t.Errorf("%s has no Example", name)
		}
	}
}

// generated says whether all of a package was written by protoc.
func generated(p pkg) bool {
	return len(p.GoFiles) > 0 && !slices.ContainsFunc(p.GoFiles, func(f string) bool {
		return !strings.HasSuffix(f, ".pb.go") && !strings.HasSuffix(f, ".connect.go")
	})
}

func hasExample(t *testing.T, p pkg) bool {
	t.Helper()
	for _, name := range append(p.TestGoFiles, p.XTestGoFiles...) {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(fn.Name.Name, "Example") {
				return true
			}
		}
	}
	return false
}

// A name in the path of a request may be written in a form of its own, which httplink.PathValue reads and net/http's does not.
func TestNamesInPathsAreReadByHTTPLink(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "./...") {
		if p.ImportPath == module+"/internal/httplink" {
			continue
		}
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			ast.Inspect(f, func(n ast.Node) bool {
				if s, is := n.(*ast.SelectorExpr); is && s.Sel.Name == "PathValue" {
					if from, is := s.X.(*ast.Ident); !is || from.Name != "httplink" {
						t.Errorf("%s of %s calls a PathValue that is not httplink's", name, p.ImportPath)
					}
				}
				return true
			})
		}
	}
}
