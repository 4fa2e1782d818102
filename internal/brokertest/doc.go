// Package brokertest helps to test transports over a message broker: servers as processes of their own
// that can be killed, and agents whose every run is counted.
package brokertest
