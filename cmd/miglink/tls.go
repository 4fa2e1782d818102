package main

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/url"
	"strings"

	"github.com/miglink/miglink/transport/tlsfile"
)

// tlsFlags are those of a client. The idempotency key of send has the name --key.
type tlsFlags struct {
	CA      string `name:"ca" help:"PEM file of the authorities that vouch for the other end, read again when it changes. Default: the system's." placeholder:"FILE"`
	Cert    string `help:"PEM file of the certificate to show the other end, read again likewise." placeholder:"FILE"`
	CertKey string `help:"PEM file of its key." placeholder:"FILE"`
}

// brokerTLSFlags are those of a controller as the client of its brokers.
type brokerTLSFlags struct {
	BrokerCA   string `name:"broker-ca" help:"PEM file of the authorities that vouch for brokers, read again when it changes. Default: the system's." placeholder:"FILE"`
	BrokerCert string `help:"PEM file of the certificate to show brokers, read again likewise." placeholder:"FILE"`
	BrokerKey  string `help:"PEM file of its key." placeholder:"FILE"`
}

func (f brokerTLSFlags) config(log *slog.Logger, urls ...string) (*tls.Config, error) {
	if (f.BrokerCert == "") != (f.BrokerKey == "") {
		return nil, usage("--broker-cert and --broker-key go together")
	}
	return tlsFlags{f.BrokerCA, f.BrokerCert, f.BrokerKey}.config(log, urls...)
}

// config is for a client that dials urls; it is nil where no flag is given.
func (f tlsFlags) config(log *slog.Logger, urls ...string) (*tls.Config, error) {
	if f == (tlsFlags{}) {
		return nil, nil
	}
	if (f.Cert == "") != (f.CertKey == "") {
		return nil, usage("--cert and --cert-key go together")
	}
	c, err := tlsfile.Client(tlsfile.ClientFiles{CA: f.CA, Cert: f.Cert, Key: f.CertKey, Addresses: addresses(urls), Log: log})
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return c, nil
}

// addresses are the IP addresses among the hosts of URLs, each of which may be several with commas. What is no
// URL is refused by who dials it.
func addresses(urls []string) (list []string) {
	for _, several := range urls {
		for one := range strings.SplitSeq(several, ",") {
			if u, err := url.Parse(strings.TrimSpace(one)); err == nil && net.ParseIP(u.Hostname()) != nil {
				list = append(list, u.Hostname())
			}
		}
	}
	return list
}
