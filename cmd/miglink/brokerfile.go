package main

import (
	"net/url"
	"os"
	"strings"
)

// readBroker takes the broker's URL from --broker-file.
func (c *agentCmd) readBroker() error {
	if c.BrokerFile == "" {
		return nil
	}
	if c.Broker != "" {
		return usage("of --broker and --broker-file only one can be meant")
	}
	url, err := brokerIn(c.BrokerFile)
	c.Broker = url
	return err
}

// brokerIn is the one URL in a file.
func brokerIn(name string) (string, error) {
	urls, err := brokersIn(name)
	if err != nil {
		return "", err
	}
	if len(urls) != 1 {
		return "", usage("--broker-file %s: %d URLs, one is needed", name, len(urls))
	}
	return urls[0], nil
}

// readBrokers takes the URLs of --broker-file for those of the flags that their schemes belong to.
func (c *controllerCmd) readBrokers() error {
	if c.BrokerFile == "" {
		return nil
	}
	of, err := brokersByTransport(c.BrokerFile)
	if err != nil {
		return err
	}
	for name, flag := range map[string]*string{"nats": &c.NATS, "redis": &c.Redis, "rabbitmq": &c.AMQP, "gcppubsub": &c.GCPPubSub} {
		switch {
		case of[name] == "":
		case *flag != "":
			return usage("--broker-file %s: it holds a URL for --%s, and its flag is given, too: leave one of them out", c.BrokerFile, brokerFlags[name])
		default:
			*flag = of[name]
		}
	}
	return nil
}

// schemes are those of URLs, with the transports that they are of.
var schemes = map[string]string{
	"nats": "nats", "tls": "nats", "ws": "nats", "wss": "nats", "redis": "redis", "rediss": "redis",
	"amqp": "rabbitmq", "amqps": "rabbitmq", "gcppubsub": "gcppubsub",
}

// brokersByTransport are the URLs in a file, at most one of a transport. They may hold passwords, so no error shows them.
func brokersByTransport(name string) (map[string]string, error) {
	urls, err := brokersIn(name)
	if err != nil {
		return nil, err
	}
	if len(urls) == 0 {
		return nil, usage("--broker-file %s: no URL in it", name)
	}
	of := map[string]string{}
	for i, s := range urls {
		scheme := ""
		if u, err := url.Parse(s); err == nil {
			scheme = u.Scheme
		}
		transport := schemes[scheme]
		switch {
		case transport == "":
			return nil, usage("--broker-file %s, URL %d: not like nats://, tls://, redis://, rediss://, amqp://, amqps:// or gcppubsub://", name, i+1)
		case of[transport] != "":
			return nil, usage("--broker-file %s, URL %d: a second one of its kind (several servers of one NATS cluster are one URL, with commas)", name, i+1)
		}
		of[transport] = s
	}
	return of, nil
}

// brokersIn are the URLs in a file, one a line.
func brokersIn(name string) ([]string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, usage("--broker-file: %w", err)
	}
	return strings.Fields(string(b)), nil
}
