// Package fault makes links misbehave on purpose, and says how: a TCP [Proxy] that delays, cuts in the
// middle of a frame, resets, throttles and black-holes, and a Transport wrapper ([New]) that does to
// links what networks do, by chance and by seed.
package fault
