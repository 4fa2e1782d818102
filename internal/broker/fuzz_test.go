package broker_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/ledger/memory"
)

// FuzzName: what is a VM's name in a subject is so in one way only.
func FuzzName(f *testing.F) {
	for _, s := range []string{"vm-1", "=41", "=2E=2E", "a.b", "=zz", "="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if vm, err := broker.VM(token); err == nil {
			require.Equal(t, token, broker.Token(vm))
		}
		back, err := broker.VM(broker.Token(token))
		if token != "" {
			require.NoError(t, err)
			require.Equal(t, token, back)
		}
	})
}

// FuzzMessages: whatever comes for a link over a broker, hello first or not, the link ends, and nothing is left.
func FuzzMessages(f *testing.F) {
	const hello = `{"n":1,"hello":{"version":1,"vm_id":"vm-1","instance":"i"}}`
	f.Add("vm-1", []byte(hello+"\n"+`{"n":2,"acks":[{"command_id":"c","status":"started"}]}`+"\n\n"))
	f.Add("vm-1", []byte(hello+"\n"+hello))
	f.Add("", []byte("\n"))
	f.Fuzz(func(t *testing.T, vm string, said []byte) {
		if !utf8.ValidString(vm) {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			c := controller.New(memory.New(), controller.Options{})
			defer c.Close()
			s := broker.NewServer(c, broker.ServerOptions{Name: "mq"})
			p := (&wire{}).pipe()
			s.Serve(s.Greet(vm, 0), p, broker.Hello{VM: vm})
			for line := range bytes.Lines(said) {
				p.Deliver(bytes.TrimSpace(line))
			}
			synctest.Wait()
			p.Deliver(nil)
			s.Close()
		})
	})
}
