package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
)

// message is a command as each peer carries it.
type message struct {
	ID         string            `json:"id"`
	Type       string            `json:"type"`
	Parameters map[string]string `json:"parameters"`
}

// answer is its ack.
type answer struct {
	CommandID string `json:"command_id"`
	Status    string `json:"status"`
}

var (
	lastID     atomic.Uint64
	parameters = map[string]string{"config_key": "k", "config_value": "v"}
)

func newCommand() message {
	return message{ID: "0197-" + strconv.FormatUint(lastID.Add(1), 10), Type: "update_config", Parameters: parameters}
}

// newData is a command as bytes, for a peer that carries those.
func newData() (id string, data []byte, err error) {
	c := newCommand()
	data, err = json.Marshal(c)
	return c.ID, data, err
}

// answerTo is what an agent says to a command.
func answerTo(data []byte) ([]byte, error) {
	var c message
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	return json.Marshal(answer{c.ID, "processed"})
}

// hello is what an agent says that has subscribed: what is published before nobody would hear.
var hello = []byte(`{"command_id":"none","status":"processed"}`)

func (a answer) check() error {
	if a.CommandID == "" || a.Status != "processed" {
		return fmt.Errorf("this is no ack: %+v", a)
	}
	return nil
}

func checkAnswer(data []byte) error {
	var a answer
	if err := json.Unmarshal(data, &a); err != nil {
		return err
	}
	return a.check()
}

// inbox is where a library's callback leaves the acks of one VM.
type inbox chan error

func newInboxes(n int) []inbox {
	in := make([]inbox, n)
	for i := range in {
		in[i] = make(inbox, maxWindow)
	}
	return in
}

func (in inbox) hear(data []byte) { in <- checkAnswer(data) }

// ack waits for one.
func (in inbox) ack(ctx context.Context) error {
	select {
	case err := <-in:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
