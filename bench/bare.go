package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// message is what the bare loops send: what today's controller does.
type message struct {
	ID         string            `json:"id"`
	Type       string            `json:"type"`
	Parameters map[string]string `json:"parameters"`
}

type answer struct {
	CommandID string `json:"command_id"`
	Status    string `json:"status"`
}

var probe = message{ID: "0197-0000", Type: "update_config", Parameters: map[string]string{"config_key": "k", "config_value": "v"}}

// bareLoops are the least that could send a command and hear of it, as the options of a transport are
// introduced: no ledger, no promises.
var bareLoops = map[string]func(ctx context.Context, o *Options, n int) (*loop, error){
	rawTCP:     bareTCP,
	"ws":       bareWebSocket,
	"sse":      bareSSE,
	"longpoll": bareLongPoll,
	"grpc":     bareGRPC,
	"nats":     bareNATS,
	"redis":    bareRedis,
	"rabbitmq": bareRabbitMQ,

	commitFloor: bareCommit,
}

// bareAgents are their other ends.
var bareAgents = map[string]func(url string, i int) error{
	"bare-tcp":      bareTCPAgent,
	"bare-ws":       bareWebSocketAgent,
	"bare-sse":      bareSSEAgent,
	"bare-longpoll": bareLongPollAgent,
	"bare-grpc":     bareGRPCAgent,
	"bare-nats":     bareNATSAgent,
	"bare-redis":    bareRedisAgent,
	"bare-rabbitmq": bareRabbitMQAgent,
}

// openBare opens the bare loop of a transport.
func (o *Options) openBare(ctx context.Context, name string, n int) (*loop, error) {
	l, err := bareLoops[name](ctx, o, n)
	if err != nil {
		if l != nil {
			l.close()
		}
		return nil, fmt.Errorf("bare %s: %w", name, err)
	}
	return l, nil
}

// startBare starts the agents of a bare loop, and returns when they began to dial.
func (l *loop) startBare(o *Options, kind, url string, n int) (began time.Time, err error) {
	if l.agents, err = o.startAgents(kind, place{URL: url}, n); err != nil {
		return time.Time{}, err
	}
	return time.Now(), l.agents.release()
}

// answerTo is what a bare agent says to a command.
func answerTo(data []byte) ([]byte, error) {
	var c message
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	return json.Marshal(answer{c.ID, "processed"})
}
