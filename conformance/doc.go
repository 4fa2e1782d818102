// Package conformance proves the promises of Miglink on a transport: scenarios as data, run against a
// real controller and a real agent with the transport in between, faults included.
//
// An adapter of your own is a [Subject]: one function that takes the controller's Transport and returns
// the client half. Its whole test is
//
//	func TestConformance(t *testing.T) {
//		conformance.Test(t, conformance.Subject{
//			Name: "mine",
//			Open: func(env *conformance.Env, c transport.Transport) (transport.Transport, error) {
//				url, err := env.ServeHTTP(mine.Handler(c, env.Authenticator()))
//				if err != nil {
//					return nil, err
//				}
//				return mine.New(url, env.Token)
//			},
//		})
//	}
//
// [Run] is the same without package testing, for a command line. After every scenario the invariants
// are checked: no command lost, no handler run twice for one ID, order per VM, no stage going
// backwards, no goroutine left.
package conformance
