package strict

import (
	"fmt"
	"strings"
)

// Unknown is the error for a name that is none of those known: it says which is nearest, and which there are.
func Unknown(what, name string, known []string) error {
	if len(known) == 0 {
		return fmt.Errorf("there is no %s %s: none is taken here", what, quote(name))
	}
	if near := Nearest(name, known); near != "" {
		return fmt.Errorf("there is no %s %s, did you mean %q? There are: %s", what, quote(name), near, strings.Join(known, ", "))
	}
	return fmt.Errorf("there is no %s %s. There are: %s", what, quote(name), strings.Join(known, ", "))
}

// Nearest is the name that somebody may have meant by another; empty: none is near.
func Nearest(name string, known []string) string {
	if len(name) > maxShown {
		return ""
	}
	name = strings.ToLower(name)
	best, least := "", len(name)/3+2
	for _, k := range known {
		d := distance(name, strings.ToLower(k))
		if name != "" && (strings.HasPrefix(k, name) || strings.HasSuffix(k, "_"+name)) {
			d = min(d, 1)
		}
		if d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is how many letters have to be put in, left out, replaced or swapped with the next to make b of a.
func distance(a, b string) int {
	older, old := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range old {
		old[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(old[j]+cost, old[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], older[j-1]+1)
			}
		}
		older, old = old, row
	}
	return old[len(b)]
}
