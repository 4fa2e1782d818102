package command_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/miglink/miglink/command"
)

func ExampleNew() {
	c, err := command.New(command.Drain{Reason: "deploy", Timeout: command.Duration(time.Minute)},
		command.Options{ID: "c-1", TTL: time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.ID, c.Type, c.ExpiresAt.Sub(c.CreatedAt))
	p, err := command.Decode[command.Drain](c)
	fmt.Println(p.Reason, p.Timeout, err)
	// Output:
	// c-1 drain 1h0m0s
	// deploy 1m0s <nil>
}

// RotateKeys is a command type of a team's own.
type RotateKeys struct {
	Slot int            `json:"slot"`
	Key  command.Secret `json:"key"`
}

func (RotateKeys) CommandType() command.Type { return "acme/rotate_keys" }

func (p RotateKeys) Validate() error {
	if p.Slot < 1 {
		return errors.New("slot starts at 1")
	}
	return nil
}

func ExampleParams() {
	_, err := command.New(RotateKeys{}, command.Options{})
	fmt.Println(err)
	c, err := command.New(RotateKeys{Slot: 1, Key: "hunter2"}, command.Options{})
	fmt.Println(c.Type, err)
	p, err := command.Decode[RotateKeys](c)
	fmt.Println(p, p.Key.Reveal(), err)
	// Output:
	// invalid command: acme/rotate_keys: slot starts at 1
	// acme/rotate_keys <nil>
	// {1 [redacted]} hunter2 <nil>
}

// What may be shown of parameters: also of a type of one's own, by the Secrets in its struct.
func ExampleSecretsOf() {
	p := command.Parameters(`{"slot":2,"key":"k3y"}`)
	fmt.Printf("%s\n", []byte(command.Redact("acme/rotate_keys", p)))
	secrets := command.SecretsOf(RotateKeys{})
	fmt.Printf("%s\n", []byte(secrets.Redact("acme/rotate_keys", p)))
	// Output:
	// {"slot":"[redacted]","key":"[redacted]"}
	// {"slot":2,"key":"[redacted]"}
}
