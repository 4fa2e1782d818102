// Package overbrokers is tests: the conformance suite on what goes over brokers in the process. It is a package of its
// own, so that it runs beside the others, and not one of the transports', whose users would have all transports in
// their go.sum.
package overbrokers
