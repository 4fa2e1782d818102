package main

import (
	"fmt"
	"strings"

	"github.com/miglink/miglink/internal/printable"
)

// A VM says what it likes, in reasons, results and names, and the terminal of whoever reads it obeys escape sequences. So
// all lines and tables for people show control characters and the like as escapes. JSON is as it came.

// maxShown is far above what a line of text may hold that a VM has sent.
const maxShown = 1 << 20

// say prints a line. What is in args begins no other.
func say(format string, args ...any) error {
	_, err := fmt.Println(shown(fmt.Sprintf(format, args...)))
	return err
}

func shown(s string) string { return printable.Cut(s, maxShown) }

// shownLines is for text that may have several lines.
func shownLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = shown(lines[i])
	}
	return strings.Join(lines, "\n")
}
