// Package hostile is tests: agents and controllers that mean harm, against the real other half over real sockets.
// Each attack has bounds: memory, goroutines, and that whoever means well is served meanwhile.
package hostile
