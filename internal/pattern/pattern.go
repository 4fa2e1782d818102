// Package pattern is the one grammar of patterns for names of VMs and types of commands: in the tokens of relays and
// in the grants of operators.
//
// A * matches any run of characters but slashes, also none. ** matches any run of characters at all, also none. Every
// other character matches itself; case counts.
//
// The whole name must match. No character takes from another its meaning, so a name that holds a star cannot be
// written; names of VMs and types have none.
package pattern

import (
	"fmt"
	"strings"
)

// Everything is the pattern that matches every name.
const Everything = "**"

// Match says whether a pattern matches a name. It takes time in proportion to the product of both lengths, whatever
// they hold, and memory in proportion to the name's.
func Match(pattern, name string) bool {
	if !strings.Contains(pattern, "*") {
		return pattern == name
	}
	// reach[i] says whether what was read of the pattern matches the first i bytes of the name. Bytes are enough:
	// in UTF-8 no character begins inside another.
	reach := make([]bool, len(name)+1)
	reach[0] = true
	for len(pattern) > 0 {
		stars := len(pattern) - len(strings.TrimLeft(pattern, "*"))
		switch stars {
		case 0:
			for i := len(name); i > 0; i-- { // backwards: what is read was not written yet
				reach[i] = reach[i-1] && name[i-1] == pattern[0]
			}
			reach[0] = false
			pattern = pattern[1:]
		case 1:
			for i := 1; i <= len(name); i++ {
				reach[i] = reach[i] || reach[i-1] && name[i-1] != '/'
			}
			pattern = pattern[1:]
		default: // also three stars and more
			for i := 1; i <= len(name); i++ {
				reach[i] = reach[i] || reach[i-1]
			}
			pattern = pattern[stars:]
		}
	}
	return reach[len(name)]
}

// former are characters that had a meaning in the patterns of relays once.
const former = `?[]\`

// CheckFormer returns an error for a pattern that holds a character which had a meaning once. It would match other
// names than whoever wrote it may have meant.
func CheckFormer(pattern string) error {
	if i := strings.IndexAny(pattern, former); i >= 0 {
		return fmt.Errorf("%q is no pattern of VMs: %q is no longer special in one, only * (any characters but /) and ** (any characters) are; take those, or one pattern for each VM", pattern, pattern[i:i+1])
	}
	return nil
}
