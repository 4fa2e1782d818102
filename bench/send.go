package bench

import (
	"context"
	"fmt"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
)

// send is a caller's way to a VM: it returns once a command is accepted, and wait once that has succeeded.
type send func(ctx context.Context, vm string) (wait func(ctx context.Context) error, err error)

// sendBy sends by a controller of this process.
func sendBy(c *controller.Controller) send {
	return func(ctx context.Context, vm string) (func(ctx context.Context) error, error) {
		cmd, err := newCommand()
		if err != nil {
			return nil, err
		}
		r, err := c.Send(ctx, vm, cmd)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			e, err := r.Wait(ctx)
			if err != nil {
				return err
			}
			return succeeded(e.State.Stage)
		}, nil
	}
}

// roundTrip sends one command and waits for its final ack.
func (s send) roundTrip(ctx context.Context, vm string) error {
	wait, err := s(ctx, vm)
	if err != nil {
		return err
	}
	return wait(ctx)
}

func newCommand() (command.Command, error) {
	return command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: "v"}, command.Options{})
}

func succeeded(s ack.Stage) error {
	if s != ack.Succeeded {
		return fmt.Errorf("a command came to %s", s)
	}
	return nil
}
