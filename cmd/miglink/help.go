package main

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// usualColumns is what kong's help always fits, and what it is printed for where nobody says how wide the terminal is.
const usualColumns = 80

// printHelp prints kong's help, and on a narrow terminal has no line of it wider than that.
func printHelp(o kong.HelpOptions, ctx *kong.Context) error {
	out, width := ctx.Stdout, columns(ctx.Stdout)
	if width >= usualColumns {
		return kong.DefaultHelpPrinter(o, ctx)
	}
	var b bytes.Buffer
	ctx.Stdout, o.WrapUpperBound = &b, width
	err := kong.DefaultHelpPrinter(o, ctx)
	ctx.Stdout = out
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, fitted(b.String(), width))
	return err
}

// columns is the width of what is written to, as kong takes it: COLUMNS counts more than the terminal.
func columns(w io.Writer) int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			return n
		}
	}
	return usualColumns
}

// fitted moves a word that is wider than its column to the left, and wraps what is still too wide.
func fitted(help string, width int) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(help, "\n"), "\n") {
		if utf8.RuneCountInString(line) > width {
			line = strings.TrimLeft(line, " ")
			if missing := width - utf8.RuneCountInString(line); missing > 0 {
				line = strings.Repeat(" ", missing) + line
			} else {
				line = text.WrapSoft(line, width)
			}
		}
		for part := range strings.SplitSeq(line, "\n") {
			b.WriteString(strings.TrimRight(part, " ") + "\n") // WrapSoft fills up lines
		}
	}
	return b.String()
}
