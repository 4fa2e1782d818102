package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// bareVM is what a bare HTTP controller knows of a VM.
type bareVM struct {
	commands chan message
	acks     chan answer
}

// bareHTTP serves commands at GET /?vm=N by get, and takes acks at POST /?vm=N.
func bareHTTP(ctx context.Context, o *Options, kind string, n int, get func(w http.ResponseWriter, r *http.Request, vm *bareVM)) (*loop, error) {
	vms := make([]*bareVM, n)
	for i := range vms {
		vms[i] = &bareVM{make(chan message, maxWindow), make(chan answer, maxWindow)}
	}
	l := &loop{}
	url, err := serveHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i, err := strconv.Atoi(r.URL.Query().Get("vm"))
		if err != nil || i < 0 || i >= n {
			http.NotFound(w, r)
			return
		}
		if r.Method == http.MethodGet {
			get(w, r, vms[i])
			return
		}
		var a answer
		if json.NewDecoder(r.Body).Decode(&a) == nil {
			vms[i].acks <- a
		}
	}), anyPort, &l.clean)
	if err != nil {
		return l, err
	}
	began, err := l.startBare(o, kind, url, n)
	if err != nil {
		return l, err
	}
	pipes := make([]pipe, n)
	for i, vm := range vms {
		pipes[i] = pipe{
			send: func() error { vm.commands <- probe; return nil },
			ack: func() error {
				select {
				case <-vm.acks:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			},
		}
	}
	l.roundTrip = func(context.Context) error {
		vms[0].commands <- probe
		return pipes[0].ack()
	}
	l.offer = offerPipes(pipes)
	l.flood = func(ctx context.Context, window int, d time.Duration) (int, error) {
		return floodPipes(ctx, pipes, window, d)
	}
	for _, p := range pipes {
		if err := p.send(); err != nil {
			return l, err
		}
	}
	for _, p := range pipes {
		if err := p.ack(); err != nil {
			return l, err
		}
	}
	l.storm = time.Since(began)
	return l, nil
}

// bareClient is an agent's own: agents are programs on machines of their own.
func bareClient() *http.Client { return &http.Client{Transport: &http.Transport{}} }

func vmURL(url string, i int) string { return url + "/?vm=" + strconv.Itoa(i) }

func post(c *http.Client, url string, m message) error {
	body, err := json.Marshal(answer{m.ID, "processed"})
	if err != nil {
		return err
	}
	resp, err := c.Post(url, "application/json", bytes.NewReader(body)) //nolint:noctx // as introduced
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// bareSSE is an event stream, flushed at each event, and a POST for each ack.
func bareSSE(ctx context.Context, o *Options, n int) (*loop, error) {
	return bareHTTP(ctx, o, "bare-sse", n, func(w http.ResponseWriter, r *http.Request, vm *bareVM) {
		w.Header().Set("Content-Type", "text/event-stream")
		flush := http.NewResponseController(w).Flush
		for err := flush(); err == nil; err = flush() {
			select {
			case m := <-vm.commands:
				data, err := json.Marshal(m)
				if err != nil {
					return
				}
				_, _ = io.WriteString(w, "data: "+string(data)+"\n\n") // flush says it, too
			case <-r.Context().Done():
				return
			}
		}
	})
}

func bareSSEAgent(url string, i int) error {
	c := bareClient()
	resp, err := c.Get(vmURL(url, i)) //nolint:noctx // as introduced
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan() && err == nil; {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var m message
			if err = json.Unmarshal([]byte(data), &m); err == nil {
				err = post(c, vmURL(url, i), m)
			}
		}
	}
	return err
}

// bareLongPoll is a GET that is held until there is something, and a POST for each ack.
func bareLongPoll(ctx context.Context, o *Options, n int) (*loop, error) {
	return bareHTTP(ctx, o, "bare-longpoll", n, func(w http.ResponseWriter, r *http.Request, vm *bareVM) {
		var page []message
		select {
		case m := <-vm.commands:
			page = append(page, m)
		case <-r.Context().Done():
			return
		}
		for more := true; more; {
			select {
			case m := <-vm.commands:
				page = append(page, m)
			default:
				more = false
			}
		}
		_ = json.NewEncoder(w).Encode(page) // to an agent that has gone: the run fails by itself
	})
}

func bareLongPollAgent(url string, i int) error {
	c := bareClient()
	for {
		resp, err := c.Get(vmURL(url, i)) //nolint:noctx // as introduced
		if err != nil {
			return err
		}
		var page []message
		err = json.NewDecoder(resp.Body).Decode(&page)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		resp.Body.Close()
		for at := 0; at < len(page) && err == nil; at++ {
			err = post(c, vmURL(url, i), page[at])
		}
		if err != nil {
			return err
		}
	}
}
