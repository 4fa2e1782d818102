package httplink_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/memnet"
	"github.com/miglink/miglink/transport"
)

// An answer that nobody takes is given up, the later the larger it is, and one that is taken slowly is not.
func TestAnswerThatNobodyTakes(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		for _, reads := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				took := make(chan time.Duration, 1)
				serve := memnet.Serve
				if http2 {
					serve = memnet.ServeHTTP2
				}
				protocols := new(http.Protocols)
				protocols.SetHTTP1(true)
				protocols.SetUnencryptedHTTP2(true)
				client, stop := serve(&http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { //nolint:gosec // bounded here
					began := time.Now()
					httplink.WriteJSON(w, http.StatusOK, strings.Repeat("x", 16<<20))
					took <- time.Since(began)
				})})
				defer stop()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost", http.NoBody)
				require.NoError(t, err)
				resp, err := client.Do(req)
				require.NoError(t, err)
				defer resp.Body.Close()
				if reads {
					for n := int64(0); err == nil; n, err = io.CopyN(io.Discard, resp.Body, 256<<10) {
						time.Sleep(time.Second)
						_ = n
					}
					require.ErrorIs(t, err, io.EOF)
					require.Less(t, <-took, 70*time.Second)
					return
				}
				require.Equal(t, 158*time.Second, <-took) // 30 s, and a second for each of 128 times 128 KiB
			})
		}
	}
}

// An array is read up to the most elements that are allowed: those of two bytes take thirty in memory.
func TestElementsAreCounted(t *testing.T) {
	many := []byte("[" + strings.Repeat("0,", 500_000) + "0]")
	n := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _, err := httplink.Elements(many)
			require.ErrorIs(b, err, transport.ErrTooLarge)
		}
	}).AllocedBytesPerOp()
	require.Less(t, n, int64(len(many)))
	for body, want := range map[string]int{"[]": 0, "[1]": 1, "[1,{\"a\":[2]}] ": 2, "{}": 1} {
		raw, _, err := httplink.Elements([]byte(body))
		require.NoError(t, err, body)
		require.Len(t, raw, want, body)
	}
	raw, _, err := httplink.Elements([]byte("[" + strings.Repeat("0,", ack.MaxBatch-1) + "0]"))
	require.NoError(t, err)
	require.Len(t, raw, ack.MaxBatch)
	for _, body := range []string{"", "[", "[1", "[1,", "[1,]", "[1]x", "[1][2]", "[1 2]", "[{]"} {
		_, _, err := httplink.Elements([]byte(body))
		require.ErrorIs(t, err, transport.ErrInvalid, body)
	}
}
