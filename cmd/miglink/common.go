package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/gcppubsub"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/nats"
	"github.com/miglink/miglink/transport/rabbitmq"
	"github.com/miglink/miglink/transport/redis"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/ws"
)

// registry is the transports of the command line, in the order of auto.
var registry = transport.Registry{
	{Name: "ws", Open: ws.Open},
	{Name: "sse", Open: sse.Open},
	{Name: "longpoll", Open: longpoll.Open},
	{Name: "grpc", Open: grpc.Open},
	{Name: "nats", Open: nats.Open},
	{Name: "redis", Open: redis.Open},
	{Name: "rabbitmq", Open: rabbitmq.Open},
	{Name: "gcppubsub", Open: gcppubsub.Open},
}

// brokerFlags are the flags of a controller that name a broker, by transport.
var brokerFlags = map[string]string{"nats": "nats", "redis": "redis", "rabbitmq": "amqp", "gcppubsub": "gcppubsub"}

// prefix is what names on a broker begin with.
type prefix struct {
	Prefix string `default:"miglink" help:"Begins the names of everything on a broker." placeholder:"NAME"`
}

// quiet is for a library that would else print what we log.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// operator is what the commands share that speak to a controller's admin API.
type operator struct {
	Controller string `default:"http://127.0.0.1:8080" help:"URL of the controller." placeholder:"URL"`
	TokenFile  string `help:"File with your token, where the controller wants one; it is read again for each request. Default: the environment's MIGLINK_OPERATOR_TOKEN." placeholder:"FILE"`
	Output     string `enum:"table,json" default:"table" help:"table or json."`
	tlsFlags
	insecure
}

// retry is the flag of what changes something.
type retry struct {
	Retry time.Duration `default:"30s" help:"Ask again for so long where the answer is lost; it is done once." placeholder:"DURATION"`
}

// operatorToken is the variable of the environment that holds a token. None is ever an argument, which others see.
const operatorToken = "MIGLINK_OPERATOR_TOKEN"

func (o operator) client() (*admin.Client, error) {
	if _, err := httplink.ParseBase(o.Controller); err != nil {
		return nil, usage("--controller: %w", err)
	}
	secure, err := o.config(nil, o.Controller)
	if err != nil {
		return nil, err
	}
	token, err := tokenIn(o.TokenFile, operatorToken, os.Getenv(operatorToken))
	if err != nil {
		return nil, err
	}
	c, err := admin.NewClient(strings.TrimRight(o.Controller, "/")+"/admin/v1", transport.Config{TLS: secure, Token: token, Insecure: o.Insecure})
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return c, nil
}

// hint says what may help where the controller has refused an operator.
func (o operator) hint(err error) string {
	switch {
	case !errors.Is(err, transport.ErrUnauthorized):
		return ""
	case o.TokenFile == "" && os.Getenv(operatorToken) == "":
		return " (give a token with --token-file, or in " + operatorToken + ")"
	case o.TokenFile == "":
		return " (the token is that of " + operatorToken + ")"
	}
	return " (the token is that of " + o.TokenFile + ")"
}

func (o operator) json() bool { return o.Output == "json" }

func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// terminal says whether f is one, and not a file or a pipe.
func terminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// ago is how long ago t was, for people.
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := time.Since(t)
	switch {
	case d < time.Minute:
		d = d.Truncate(100 * time.Millisecond)
	case d < 2*24*time.Hour:
		d = d.Truncate(time.Second)
	default:
		return fmt.Sprintf("%dd ago", int(d.Hours()/24))
	}
	return d.String() + " ago"
}

func short(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// logging are the flags of processes that log.
type logging struct {
	LogLevel  string `enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error."`
	LogFormat string `enum:"text,json" default:"text" help:"text or json."`
}

// logger logs to standard error; the level can be changed while the process runs.
func (l logging) logger() (*slog.Logger, *slog.LevelVar, error) {
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(l.LogLevel)); err != nil {
		return nil, nil, fmt.Errorf("log level: %w", err)
	}
	o := &slog.HandlerOptions{Level: level}
	if l.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o)), level, nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o)), level, nil
}

// sleep returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
