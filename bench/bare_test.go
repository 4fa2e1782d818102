package bench_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
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

// bare are the loops; each function that they return sends one command and waits for its ack.
var bare = map[string]func(b *testing.B) func(){
	"ws":       bareWebSocket,
	"sse":      bareSSE,
	"longpoll": bareLongPoll,
	"grpc":     bareGRPC,
	"nats":     bareNATS,
	"redis":    bareRedis,
	"rabbitmq": bareRabbitMQ,
}

func bareWebSocket(b *testing.B) func() {
	accepted := make(chan *websocket.Conn)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var u websocket.Upgrader
		conn, err := u.Upgrade(w, r, nil)
		if err == nil {
			accepted <- conn
		}
	}))
	b.Cleanup(s.Close)
	startAgents(b, "bare-ws", s.URL, 1)
	conn := <-accepted
	b.Cleanup(func() { conn.Close() })
	return func() {
		var a answer
		require.NoError(b, conn.WriteJSON(probe))
		require.NoError(b, conn.ReadJSON(&a))
	}
}

func bareWebSocketAgent(url string) error {
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http"), nil)
	for err == nil {
		var m message
		if err = conn.ReadJSON(&m); err == nil {
			err = conn.WriteJSON(answer{m.ID, "processed"})
		}
	}
	return err
}

// bareHTTP serves commands at GET / by get, and takes acks at POST /.
func bareHTTP(b *testing.B, agent string, get http.HandlerFunc) (acks <-chan answer) {
	taken := make(chan answer)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			get(w, r)
			return
		}
		var a answer
		if json.NewDecoder(r.Body).Decode(&a) == nil {
			taken <- a
		}
	}))
	b.Cleanup(s.Close)
	startAgents(b, agent, s.URL, 1)
	return taken
}

func post(url string, m message) error {
	body, err := json.Marshal(answer{m.ID, "processed"})
	if err != nil {
		return err
	}
	resp, err := http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func bareSSE(b *testing.B) func() {
	commands := make(chan message)
	acks := bareHTTP(b, "bare-sse", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for {
			select {
			case m := <-commands:
				data, _ := json.Marshal(m)
				io.WriteString(w, "data: "+string(data)+"\n\n")
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	return func() {
		commands <- probe
		<-acks
	}
}

func bareSSEAgent(url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan() && err == nil; {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var m message
			if err = json.Unmarshal([]byte(data), &m); err == nil {
				err = post(url, m)
			}
		}
	}
	return err
}

func bareLongPoll(b *testing.B) func() {
	commands := make(chan message)
	acks := bareHTTP(b, "bare-longpoll", func(w http.ResponseWriter, r *http.Request) {
		select {
		case m := <-commands:
			_ = json.NewEncoder(w).Encode([]message{m})
		case <-r.Context().Done():
		}
	})
	return func() {
		commands <- probe
		<-acks
	}
}

func bareLongPollAgent(url string) error {
	for {
		resp, err := http.Get(url)
		if err != nil {
			return err
		}
		var list []message
		err = json.NewDecoder(resp.Body).Decode(&list)
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		for i := 0; i < len(list) && err == nil; i++ {
			err = post(url, list[i])
		}
		if err != nil {
			return err
		}
	}
}
