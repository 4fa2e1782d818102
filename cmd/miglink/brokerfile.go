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
	urls, err := brokersIn(c.BrokerFile)
	if err != nil {
		return err
	}
	if len(urls) != 1 {
		return usage("--broker-file %s: %d URLs, one is needed", c.BrokerFile, len(urls))
	}
	c.Broker = urls[0]
	return nil
}

// readBrokers takes the URLs of --broker-file for those of the flags that their schemes belong to.
func (c *controllerCmd) readBrokers() error {
	if c.BrokerFile == "" {
		return nil
	}
	urls, err := brokersIn(c.BrokerFile)
	if err != nil {
		return err
	}
	if len(urls) == 0 {
		return usage("--broker-file %s: no URL in it", c.BrokerFile)
	}
	for i, s := range urls {
		scheme := ""
		if u, err := url.Parse(s); err == nil {
			scheme = u.Scheme
		}
		flag := map[string]*string{
			"nats": &c.NATS, "tls": &c.NATS, "ws": &c.NATS, "wss": &c.NATS, "redis": &c.Redis, "rediss": &c.Redis,
			"amqp": &c.AMQP, "amqps": &c.AMQP, "gcppubsub": &c.GCPPubSub,
		}[scheme]
		switch {
		case flag == nil: // the URL may hold a password, so it is not shown
			return usage("--broker-file %s, URL %d: not like nats://, tls://, redis://, rediss://, amqp://, amqps:// or gcppubsub://", c.BrokerFile, i+1)
		case *flag != "":
			return usage("--broker-file %s, URL %d: a second one of its kind, or its flag is given, too (several servers of one NATS cluster are one URL, with commas)", c.BrokerFile, i+1)
		}
		*flag = s
	}
	return nil
}

// brokersIn are the URLs in a file, one a line.
func brokersIn(name string) ([]string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, usage("--broker-file: %w", err)
	}
	return strings.Fields(string(b)), nil
}
