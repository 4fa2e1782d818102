package grpc

import (
	"net/http"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"

	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/grpc/miglinkv1/miglinkv1connect"
)

// Limits of reflection, which is served to everybody.
const (
	maxQuestion   = 4 << 10          // bytes of a message; it holds a name
	maxQuestions  = 64               // of a stream; grpcurl asks for a few files
	maxReflecting = 16               // streams at a time, of all clients
	reflecting    = 30 * time.Second // time of a stream; its Guard has the same for what is read
)

// Reflection lets tools like grpcurl look at the service. It serves the paths that it returns, to whoever asks, without
// credentials: what it tells is the .proto file. Messages are 4 KiB at most and not compressed, a stream has 64 of them and
// 30 s, and there are 16 streams at a time; more are refused.
func Reflection() map[string]http.Handler {
	r := grpcreflect.NewStaticReflector(miglinkv1connect.CommandLinkName)
	options := []connect.HandlerOption{connect.WithReadMaxBytes(maxQuestion), connect.WithCompression("gzip", nil, nil)}
	places := make(chan struct{}, maxReflecting)
	// A place is freed by the deadlines at the latest, so whoever takes all of them has them for 30 s.
	bounded := func(h http.Handler) http.Handler {
		return httplink.Guard{Asked: true, Refuse: refuse}.Handler(onlyGRPC(func(w http.ResponseWriter, r *http.Request) {
			select {
			case places <- struct{}{}:
			default:
				refuse(w, r, transport.Errorf(transport.CodeRateLimited, "%d streams of reflection are open, which is the most at a time", maxReflecting))
				return
			}
			defer func() { <-places }()
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(reflecting)) // of a client that does not read
			questions := newEnvelopes(r.Body)
			questions.most, questions.more = maxQuestion, maxQuestions
			r = r.WithContext(r.Context())
			r.Body = questions
			h.ServeHTTP(w, r)
		}))
	}
	v1, h1 := grpcreflect.NewHandlerV1(r, options...)
	alpha, h2 := grpcreflect.NewHandlerV1Alpha(r, options...)
	return map[string]http.Handler{v1: bounded(h1), alpha: bounded(h2)}
}
