package framed_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// FuzzDecode: what decodes encodes again, to the same.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		hello, `{"n":1,"welcome":{"version":1,"keepalive":15}}`, `{"n":2,"acks":[{"command_id":"c","status":"processed"}]}`,
		`{"n":3,"commands":[{"cursor":"e.1.0","attempt":1,"id":"c","type":"drain","parameters":{"a":"\u2028"}}]}`, `{"n":4,"close":{"code":"moved","retry_after":1e300}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := framed.Decode(b)
		if err != nil {
			require.ErrorIs(t, err, transport.ErrProtocol)
			return
		}
		var one, two bytes.Buffer
		if framed.Encode(&one, first) != nil {
			return // a time out of range
		}
		second, err := framed.Decode(one.Bytes())
		require.NoError(t, err)
		require.NoError(t, framed.Encode(&two, second))
		require.Equal(t, one.String(), two.String())
	})
}

// FuzzServe: whatever an agent says, line by line, its link ends, and the controller goes on.
func FuzzServe(f *testing.F) {
	f.Add([]byte(hello + "\n" + `{"n":2,"acks":[{"command_id":"c-1","status":"started"}]}` + "\n" + `{"n":3,"events":[{"type":"x"}]}` + "\n" + `{"n":4,"ping":true}`))
	f.Add([]byte(hello + "\n" + hello))
	f.Add([]byte(hello + "\n" + `{"n":2,"close":{"code":"superseded"}}`))
	f.Fuzz(func(t *testing.T, said []byte) {
		inWorld(t, nil, func(t *testing.T, w *world) {
			w.send(1)
			go func() {
				for {
					if _, err := w.agent.Recv(); err != nil {
						return
					}
				}
			}()
			for line := range bytes.Lines(said) {
				if w.agent.write(bytes.TrimSpace(line)) != nil {
					break
				}
			}
			synctest.Wait()
			require.NoError(t, w.agent.Close())
			<-w.ended
			cmd, err := w.c.Get(t.Context(), "c-1")
			require.NoError(t, err)
			require.Equal(t, "c-1", cmd.Command.ID)
		})
	})
}

// FuzzDial: whatever a controller says, an agent neither hangs nor takes more than it asked for.
func FuzzDial(f *testing.F) {
	f.Add([]byte(`{"n":1,"welcome":{"version":1}}` + "\n" + `{"n":2,"commands":[{"id":"c","type":"drain","cursor":"e.1.0"}]}` + "\n" + `{"n":3,"recorded":{"upto":2,"refused":[{"frame":2,"index":-1,"code":"invalid"}]}}`))
	f.Add([]byte(`{"n":1,"welcome":{"version":1,"keepalive":1e-9}}` + "\n" + `{"n":2,"taken":{"of":0}}`))
	f.Fuzz(func(t *testing.T, said []byte) {
		synctest.Test(t, func(t *testing.T) {
			agent, server := newMemoryPipe(16)
			go func() {
				for line := range bytes.Lines(said) {
					if server.write(bytes.TrimSpace(line)) != nil {
						return
					}
				}
				select {
				case <-time.After(time.Minute):
					server.Close()
				case <-server.done:
				}
			}()
			go func() {
				for {
					if _, err := server.Recv(); err != nil {
						return
					}
				}
			}()
			l, err := framed.Dial(t.Context(), agent, transport.Hello{VM: "vm-1"}, framed.DialOptions{})
			if err != nil {
				require.Error(t, server.write(nil), "the pipe is closed")
				return
			}
			go func() { _ = l.Ack(t.Context(), ack.Ack{CommandID: "c", Stage: ack.Received}) }()
			go func() { _ = l.Report(t.Context()) }()
			for err == nil {
				_, err = l.Receive(t.Context())
			}
			require.NoError(t, l.Close())
		})
	})
}

// FuzzCursor: any cursor may be asked for.
func FuzzCursor(f *testing.F) {
	f.Add("")
	f.Add("4a0a7f84a5634e79.1.0")
	f.Add("..")
	c := controller.New(memory.New(), controller.Options{Access: controller.Unlimited()})
	f.Cleanup(func() { c.Close() })
	f.Fuzz(func(t *testing.T, cursor string) {
		l, err := c.Dial(t.Context(), transport.Hello{VM: "vm-1", After: transport.Cursor(cursor)})
		require.NoError(t, err)
		require.NoError(t, l.Close())
	})
}
