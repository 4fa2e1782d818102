package web_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/memnet"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport/web"
)

// frame is one of HTTP/2 (RFC 9113, section 4.1).
func frame(kind, flags byte, stream uint32, payload string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = append(b, flags)
	return string(binary.BigEndian.AppendUint32(b, stream)) + payload
}

const (
	frameHeaders, frameReset, frameSettings, framePing = 1, 3, 4, 6
	preface                                            = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	noWindow                                           = "\x00\x04\x00\x00\x00\x00" // SETTINGS_INITIAL_WINDOW_SIZE: 0
)

// literal is a header, neither compressed nor remembered (RFC 7541, section 6.2.2).
func literal(name, value string) string {
	return "\x00" + string(rune(len(name))) + name + string(rune(len(value))) + value
}

// A client that asks, and gives no room for the answer, is not waited for: not by a refusal, a page, or what is not ours.
func TestNoWindow(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/vms/vm-1/commands", "/vms/vm-1/commands?wait=soon", "/nowhere", "//vms/vm-1/commands", "/other"} {
		synctest.Test(t, func(t *testing.T) {
			c := controller.New(memory.New(), controller.Options{})
			defer c.Close()
			mux := http.NewServeMux()
			mux.Handle("/", web.Handler(c, web.Options{}))
			mux.HandleFunc("/other", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "of somebody else") })
			l := memnet.Listen()
			server := web.NewServer(t.Context(), mux, web.ServerOptions{})
			served := make(chan struct{})
			go func() {
				defer close(served)
				_ = server.Serve(l)
			}()
			conn, err := l.DialContext(t.Context(), "tcp", "")
			require.NoError(t, err)
			go func() {
				_, _ = io.WriteString(conn, preface+frame(frameSettings, 0, 0, noWindow)+frame(frameHeaders, 5, 1, // and nothing after
					literal(":method", "GET")+literal(":scheme", "http")+literal(":path", path)+literal(":authority", "localhost")))
			}()
			began := time.Now()
			require.NoError(t, awaitReset(conn), path)
			require.LessOrEqual(t, time.Since(began), 31*time.Second, path)
			conn.Close()
			server.Close()
			<-served
			time.Sleep(time.Second) // net/http waits for what it has said last to arrive
		})
	}
}

// awaitReset reads frames until one ends stream 1. The server would wait for ever: so this does for a minute.
func awaitReset(conn net.Conn) error {
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(conn, head); err != nil {
			return err
		}
		size := int(binary.BigEndian.Uint32(head) >> 8)
		if _, err := io.ReadFull(conn, make([]byte, size)); err != nil {
			return err
		}
		switch head[3] {
		case frameReset:
			return nil
		case frameSettings:
			if head[4] == 0 { // not the acknowledgement
				go conn.Write([]byte(frame(frameSettings, 1, 0, ""))) // the other end may be gone
			}
		case framePing:
			return errors.New("a ping was not expected")
		}
	}
}
