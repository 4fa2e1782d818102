// Package arch holds the shape of the module: which package may import which, what a small agent links,
// and that every package says what it is and shows how it is used. It has tests only.
package arch
