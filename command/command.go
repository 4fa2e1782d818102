package command

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/miglink/miglink/internal/document"
	"github.com/miglink/miglink/internal/wirejson"
)

// Type names what is asked. Types are open: any name that [Type.Validate] accepts may be sent, and
// an agent that has no handler for one rejects it and says which it knows.
type Type string

// The types of the deployed system, and Cancel, which the SDK itself uses.
const (
	TypeRegisterRunner Type = "register_runner"
	TypeDrain          Type = "drain"
	TypeShutdown       Type = "shutdown"
	TypeUpdateConfig   Type = "update_config"
	TypeSetLogLevel    Type = "set_log_level"
	TypeCancel         Type = "cancel"
)

// Limits on the fields of a command. They hold on every transport.
const (
	MaxIDLength   = 128               // bytes, of an ID, a type, an idempotency key or a supersede key
	MaxParameters = 256 << 10         // bytes
	MaxDepth      = document.MaxDepth // objects and arrays within each other, in parameters
)

// ErrInvalid is wrapped by every validation error of this package.
var ErrInvalid = errors.New("invalid command")

// ErrTooLarge is wrapped, beside [ErrInvalid], where a size is over its limit.
var ErrTooLarge = fmt.Errorf("%w: too large", ErrInvalid)

// Command is one thing asked of one VM. The zero value is not valid; use [New].
type Command struct {
	ID         string     `json:"id"`
	Type       Type       `json:"type"`
	Parameters Parameters `json:"parameters"`

	// CreatedAt is when the command was made, in whole milliseconds. Of two commands with one ID it tells whether the second
	// is the first, sent again: who sends a command again keeps it. New takes it from an ID that holds a time, as the
	// default does. One that is not in whole milliseconds, or zero, says nothing: whatever has the ID is the command, and the
	// ledger that stores it drops the rest, or takes its own time.
	CreatedAt time.Time `json:"created_at"`

	// ExpiresAt is when the command must have been started, by the clock of the controller's ledger; later it is never
	// run and its status is expired. Zero means never.
	ExpiresAt time.Time `json:"expires_at,omitzero"`

	// TTL is how long the command may wait to be started. The ledger that stores the command counts it from then, by its
	// own clock, and sets ExpiresAt. Zero leaves ExpiresAt as it is.
	TTL time.Duration `json:"-"`

	// IdempotencyKey makes sending safe to repeat: a second command with the same key for the same
	// VM is the first one, unless that has expired or was rejected and was certainly not run, see ledger.Entry.KeyFree. Empty
	// means none.
	IdempotencyKey string `json:"idempotency_key,omitempty"`

	// SupersedeKey marks a command that makes earlier ones of the same key for the same VM
	// pointless: those that have not started never will. Empty means none.
	SupersedeKey string `json:"supersede_key,omitempty"`

	// RunTimeout is how long one run of the command's handler may last, MinRunTimeout to MaxRunTimeout. Where the agent has a
	// limit for the type, too, the smaller counts. Zero is no limit of the command's own. See agent.Policy.
	RunTimeout Milliseconds `json:"run_timeout,omitzero"`

	// Urgent commands overtake the ones that are not, and run beside one that runs: see agent.Policy.
	Urgent bool `json:"urgent,omitempty"`
}

// Options are the optional fields of a new command; the zero value is a command without any.
type Options struct {
	ID             string        // default: a UUID version 7
	CreatedAt      time.Time     // in whole milliseconds, the rest is dropped; default: the time in an ID that is a UUID version 7, else now, which says nothing when the ID is sent again
	TTL            time.Duration // how long the command may wait to be started; 0 is for ever
	IdempotencyKey string
	SupersedeKey   string
	RunTimeout     time.Duration // how long a run may last, MinRunTimeout to MaxRunTimeout; 0 is no limit
	Urgent         bool
}

// New makes a command from typed parameters, validated.
func New(p Params, o Options) (Command, error) {
	if err := p.Validate(); err != nil {
		return Command{}, fmt.Errorf("%w: %s: %w", ErrInvalid, p.CommandType(), err)
	}
	raw, err := wirejson.Marshal(p)
	if err != nil {
		return Command{}, fmt.Errorf("%w: %s: %w", ErrInvalid, p.CommandType(), err)
	}
	return newCommand(p.CommandType(), raw, o)
}

// NewRaw makes a command from parameters that are JSON already, for callers that do not know the
// type at compile time. Parameters of the known types are validated; nil is an empty object.
func NewRaw(t Type, p Parameters, o Options) (Command, error) {
	c, err := newCommand(t, p, o)
	if err != nil {
		return Command{}, err
	}
	if err := validateKnown(c); err != nil {
		return Command{}, err
	}
	return c, nil
}

func newCommand(t Type, p Parameters, o Options) (Command, error) {
	if len(p) == 0 {
		p = Parameters("{}")
	}
	c := Command{
		ID:             o.ID,
		Type:           t,
		Parameters:     p,
		CreatedAt:      Created(o.CreatedAt),
		IdempotencyKey: o.IdempotencyKey,
		SupersedeKey:   o.SupersedeKey,
		RunTimeout:     Milliseconds(o.RunTimeout),
		Urgent:         o.Urgent,
		TTL:            o.TTL,
	}
	if c.ID == "" {
		c.ID, _ = NewID()
	}
	if c.CreatedAt.IsZero() {
		c.CreatedAt = timeOf(c.ID)
	}
	now := time.Now().UTC()
	if c.CreatedAt.IsZero() {
		c.CreatedAt = inexact(now)
	}
	if o.TTL > 0 {
		c.ExpiresAt = now.Add(o.TTL)
		if o.ID == "" || !Exact(c.CreatedAt) { // it was made just now
			c.ExpiresAt = c.CreatedAt.Add(o.TTL)
		}
	}
	if err := c.Validate(); err != nil {
		return Command{}, err
	}
	return c, nil
}

// Validate checks the envelope, so that every transport, ledger and agent can read what it accepts: identity, type, sizes,
// times (whose year, in UTC, is 1 to 9999), and that the parameters are a JSON object of at most MaxParameters bytes and
// MaxDepth levels, in UTF-8, without NUL and half surrogate pairs in its strings. What they mean [Decode] says.
func (c Command) Validate() error {
	if err := validName("id", c.ID, true); err != nil {
		return err
	}
	if c.ID == "." || c.ID == ".." { // a path would lose them, so nobody could ask for it, or cancel it
		return fmt.Errorf("%w: id is %q", ErrInvalid, c.ID)
	}
	if err := c.Type.Validate(); err != nil {
		return err
	}
	if err := validName("idempotency_key", c.IdempotencyKey, false); err != nil {
		return err
	}
	if err := validName("supersede_key", c.SupersedeKey, false); err != nil {
		return err
	}
	if err := validTime("created_at", c.CreatedAt); err != nil {
		return err
	}
	if err := validTime("expires_at", c.ExpiresAt); err != nil {
		return err
	}
	if c.TTL < 0 {
		return fmt.Errorf("%w: a TTL of %s is in the past", ErrInvalid, c.TTL)
	}
	if err := ValidateRunTimeout(time.Duration(c.RunTimeout)); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return c.Parameters.Validate()
}

// Expired says whether the time to start the command has passed at now, by the clock that ExpiresAt is of.
func (c Command) Expired(now time.Time) bool {
	return !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt)
}

// LogValue is the command without its parameters.
func (c Command) LogValue() slog.Value {
	return slog.GroupValue(slog.String("command_id", c.ID), slog.String("type", string(c.Type)))
}

// Validate accepts lower-case letters, digits, '_', '-', '.' and '/', starting with a letter.
func (t Type) Validate() error {
	if t == "" {
		return fmt.Errorf("%w: type is empty", ErrInvalid)
	}
	if len(t) > MaxIDLength {
		return fmt.Errorf("%w: type has %d bytes, at most %d are allowed", ErrInvalid, len(t), MaxIDLength)
	}
	for i, r := range string(t) {
		switch {
		case r >= 'a' && r <= 'z':
		case i > 0 && (r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.' || r == '/'):
		default:
			return fmt.Errorf("%w: type %.40q may hold only a-z, 0-9, '_', '-', '.' and '/', and starts with a letter", ErrInvalid, string(t))
		}
	}
	return nil
}

// validName holds identifiers to printable text, so that they fit headers, subjects and logs.
func validName(field, s string, required bool) error {
	if s == "" {
		if required {
			return fmt.Errorf("%w: %s is empty", ErrInvalid, field)
		}
		return nil
	}
	if err := document.CheckName(field, s, MaxIDLength); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// validTime holds times to what RFC 3339 and Protocol Buffers can say.
func validTime(field string, t time.Time) error {
	if y := t.UTC().Year(); y < 1 || y > 9999 {
		return fmt.Errorf("%w: %s is in the year %d, 1 to 9999 are allowed", ErrInvalid, field, y)
	}
	return nil
}
