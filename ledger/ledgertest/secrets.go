package ledgertest

import (
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

const token = "t0ken"

func (s *suite) runner(t string, o command.Options) command.Command {
	s.Helper()
	c, err := command.New(command.RegisterRunner{RegistrationToken: command.Secret(t), RunnerURL: "https://ci.example.com"}, o)
	require.NoError(s, err)
	return c
}

func secret(e *ledger.Entry) bool {
	return strings.Contains(string([]byte(e.Command.Parameters)), token)
}

// testSecrets settles commands in every way there is: secrets stay until then, and no longer.
func testSecrets(s *suite) {
	for name, settle := range map[string]func(id string) *ledger.Entry{
		"the agent's word": func(id string) *ledger.Entry { return s.acked("vm-1", id, ack.Succeeded).Entry },
		"a verdict": func(id string) *ledger.Entry {
			out, err := s.l.Update(s.Context(), "vm-1", ledger.Edit{ID: id, Do: func(e *ledger.Entry) error {
				e.Conclude(ack.Dead, "", "", s.now)
				return nil
			}})
			require.NoError(s, err)
			return out[0].Entry
		},
		"a cancel of what was not delivered": func(id string) *ledger.Entry {
			out, err := s.l.Update(s.Context(), "vm-1", ledger.Edit{ID: id, Do: func(e *ledger.Entry) error {
				e.RequestCancel("", s.now)
				return nil
			}})
			require.NoError(s, err)
			return out[0].Entry
		},
		"a later command": func(string) *ledger.Entry {
			a, err := s.l.Append(s.Context(), "vm-1", s.command(command.Options{SupersedeKey: "k"}), ledger.Limits{}, s.now)
			require.NoError(s, err)
			return a.Superseded[0]
		},
	} {
		e := s.appendCommand("vm-1", s.runner(token, command.Options{SupersedeKey: "k"}))
		id := e.Command.ID
		s.acked("vm-1", id, ack.Received)
		pending, err := s.l.Pending(s.Context(), "vm-1", ledger.Normal, e.Seq-1, 1)
		require.NoError(s, err)
		require.True(s, secret(pending[0]), "it is still to be delivered")
		require.False(s, secret(settle(id)), name)
		require.False(s, secret(s.get(id)), name)
		require.Equal(s, command.TypeRegisterRunner, s.get(id).Command.Type)
		for _, e := range s.list("vm-1") {
			require.False(s, secret(e), name)
		}
		require.True(s, secret(e), "who holds an earlier state has all of it")
		late := s.acked("vm-1", id, ack.Failed)
		require.NoError(s, late.Err)
		require.Equal(s, name != "the agent's word", late.Changed, "the agent's word replaces a verdict")
		s.acked("vm-1", s.list("vm-1")[0].Command.ID, ack.Succeeded)
	}
	testSecretsSame(s)

	// What waits is counted as it was.
	c := s.runner(token, command.Options{})
	size := len(c.Parameters)
	for range 3 {
		a, err := s.l.Append(s.Context(), "vm-3", s.runner(token, command.Options{}), ledger.Limits{Bytes: size}, s.now)
		require.NoError(s, err)
		_, err = s.l.Append(s.Context(), "vm-3", s.command(command.Options{}), ledger.Limits{Bytes: size}, s.now)
		require.ErrorIs(s, err, ledger.ErrFull)
		s.acked("vm-3", a.Entry.Command.ID, ack.Succeeded)
	}
}

// testSecretsSame sends again what is known, with any secret, before and after it is settled.
func testSecretsSame(s *suite) {
	c := s.runner(token, command.Options{IdempotencyKey: "k"})
	s.appendCommand("vm-2", c)
	again := func(c command.Command) error {
		c.ID = "another"
		a, err := s.l.Append(s.Context(), "vm-2", c, ledger.Limits{}, s.now)
		require.False(s, a.Created)
		return err
	}
	elsewhere, err := command.New(command.RegisterRunner{RegistrationToken: token, RunnerURL: "https://other"}, command.Options{IdempotencyKey: "k"})
	require.NoError(s, err)
	fresh, err := command.New(command.RegisterRunner{
		RegistrationToken: "fresh", RunnerURL: "https://ci.example.com", ExpiresAt: s.now,
	}, command.Options{IdempotencyKey: "k"})
	require.NoError(s, err)
	require.NoError(s, again(c))
	require.NoError(s, again(s.runner("other", command.Options{IdempotencyKey: "k"})))
	require.NoError(s, again(fresh), "and the time at which a token expires goes with it")
	require.True(s, secret(s.get(c.ID)), "it keeps what it came with")
	require.ErrorIs(s, again(elsewhere), ledger.ErrConflict)
	s.acked("vm-2", c.ID, ack.Succeeded)
	require.NoError(s, again(c))
	require.NoError(s, again(s.runner("other", command.Options{IdempotencyKey: "k"})))
	require.NoError(s, again(fresh))
	require.ErrorIs(s, again(elsewhere), ledger.ErrConflict)
}

// testSecretsOfUnknownTypes: of a type that nobody has declared nothing but names is kept, and all of it counts until then.
func testSecretsOfUnknownTypes(s *suite) {
	own := func(p string) command.Command {
		c, err := command.NewRaw("nobody/knows", command.Parameters(p), command.Options{IdempotencyKey: "k"})
		require.NoError(s, err)
		return c
	}
	c := own(`{"a":"t0ken"}`)
	s.appendCommand("vm-1", c)
	again := func(c command.Command) error {
		a, err := s.l.Append(s.Context(), "vm-1", c, ledger.Limits{}, s.now)
		require.False(s, a.Created)
		return err
	}
	require.NoError(s, again(own(`{"a": "t0ken"}`)))
	require.ErrorIs(s, again(own(`{"a":"other"}`)), ledger.ErrConflict)
	require.True(s, secret(s.get(c.ID)), "it is still to be delivered")
	s.acked("vm-1", c.ID, ack.Succeeded)
	require.Equal(s, `{"a":"[redacted]"}`, string([]byte(s.get(c.ID).Command.Parameters)))
	require.NoError(s, again(own(`{"a":"t0ken"}`)))
	require.ErrorIs(s, again(own(`{"b":"t0ken"}`)), ledger.ErrConflict)
}

// testRedact has an embedder say what is secret, well and badly.
func testRedact(s *suite) {
	s.l.Redact(func(t command.Type, p command.Parameters) command.Parameters {
		switch t {
		case "own":
			return command.Redact(t, p)
		case "broken":
			return command.Parameters(`{"a":`)
		}
		return p
	})
	for typ, want := range map[command.Type]string{"own": `{"a":"[redacted]"}`, "broken": `{}`, "other": `{"a":"t0ken"}`} {
		c, err := command.NewRaw(typ, command.Parameters(`{"a":"t0ken"}`), command.Options{IdempotencyKey: string(typ)})
		require.NoError(s, err)
		s.appendCommand("vm-1", c)
		require.True(s, secret(s.get(c.ID)))
		s.acked("vm-1", c.ID, ack.Succeeded)
		require.Equal(s, want, string([]byte(s.get(c.ID).Command.Parameters)))
		a, err := s.l.Append(s.Context(), "vm-1", c, ledger.Limits{}, s.now)
		require.NoError(s, err)
		require.False(s, a.Created)
	}
}

func testSecretsReopen(s *suite) {
	c := s.runner(token, command.Options{IdempotencyKey: "k"})
	s.appendCommand("vm-1", c)
	s.reopen()
	require.True(s, secret(s.get(c.ID)), "it is still to be delivered")
	s.acked("vm-1", c.ID, ack.Succeeded)
	s.reopen()
	require.False(s, secret(s.get(c.ID)))
	a, err := s.l.Append(s.Context(), "vm-1", c, ledger.Limits{}, s.now)
	require.NoError(s, err)
	require.False(s, a.Created)
}
