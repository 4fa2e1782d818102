package command

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

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
	MaxIDLength   = 128 // bytes, of an ID, a type, an idempotency key or a supersede key
	MaxParameters = 256 << 10
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
	CreatedAt  time.Time  `json:"created_at"`

	// ExpiresAt is when the command must have been started; later it is never run and its status
	// is expired. Zero means never.
	ExpiresAt time.Time `json:"expires_at,omitzero"`

	// IdempotencyKey makes sending safe to repeat: a second command with the same key for the same
	// VM is the first one. Empty means none.
	IdempotencyKey string `json:"idempotency_key,omitempty"`

	// SupersedeKey marks a command that makes earlier ones of the same key for the same VM
	// pointless: those that have not started never will. Empty means none.
	SupersedeKey string `json:"supersede_key,omitempty"`

	// Urgent commands overtake the ones that are not.
	Urgent bool `json:"urgent,omitempty"`
}

// Options are the optional fields of a new command; the zero value is a command without any.
type Options struct {
	ID             string        // default: a UUID version 7
	TTL            time.Duration // how long the command may wait to be started; 0 is for ever
	IdempotencyKey string
	SupersedeKey   string
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
	if o.TTL < 0 {
		return Command{}, fmt.Errorf("%w: a TTL of %s is in the past", ErrInvalid, o.TTL)
	}
	if len(p) == 0 {
		p = Parameters("{}")
	}
	c := Command{
		ID:             o.ID,
		Type:           t,
		Parameters:     p,
		CreatedAt:      time.Now().UTC(),
		IdempotencyKey: o.IdempotencyKey,
		SupersedeKey:   o.SupersedeKey,
		Urgent:         o.Urgent,
	}
	if c.ID == "" {
		c.ID = uuid.Must(uuid.NewV7()).String()
	}
	if o.TTL > 0 {
		c.ExpiresAt = c.CreatedAt.Add(o.TTL)
	}
	if err := c.Validate(); err != nil {
		return Command{}, err
	}
	return c, nil
}

// Validate checks the envelope: identity, type, sizes, and that the parameters are a JSON object.
// It does not look into the parameters; [Decode] does.
func (c Command) Validate() error {
	if err := validName("id", c.ID, true); err != nil {
		return err
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
	return c.Parameters.validate()
}

// Expired says whether the time to start the command has passed at now.
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
	if len(s) > MaxIDLength {
		return fmt.Errorf("%w: %s has %d bytes, at most %d are allowed", ErrInvalid, field, len(s), MaxIDLength)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: %s is not UTF-8", ErrInvalid, field)
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return fmt.Errorf("%w: %s %.40q holds a control character", ErrInvalid, field, s)
		}
	}
	return nil
}
