package main

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// tableOf is a table for people. On a terminal it has a frame, or, where a line of it would be wider than the terminal, a
// line per field in place of one per row. In a file or a pipe it has no frame and a line per row, however long.
type tableOf struct {
	w      io.Writer
	width  int // of the terminal; 0 where it is none
	none   string
	header []string
	rows   []table.Row
}

// newTable returns a table that Render writes to w. None is what is said in place of a table without rows.
func newTable(w io.Writer, none string, header ...string) *tableOf {
	t := &tableOf{w: w, none: none, header: header}
	if f, ok := w.(*os.File); ok && terminal(f) {
		t.width, _, _ = term.GetSize(int(f.Fd())) // 0 where the terminal does not say
	}
	return t
}

// add adds a row. Its texts may be a VM's, see shown.
func (t *tableOf) add(row ...any) {
	for i, cell := range row {
		if v := reflect.ValueOf(cell); v.Kind() == reflect.String {
			row[i] = shown(v.String())
		}
	}
	t.rows = append(t.rows, row)
}

func (t *tableOf) Render() error {
	s := t.none
	if len(t.rows) > 0 {
		s = t.rendered()
		if t.width > 0 && text.LongestLineLen(s) > t.width {
			s = t.fields()
		}
	}
	_, err := fmt.Fprintln(t.w, s)
	return err
}

func (t *tableOf) rendered() string {
	w := table.NewWriter()
	style := table.StyleLight
	if t.width == 0 {
		style = table.StyleDefault
		style.Options = table.OptionsNoBordersAndSeparators
		style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
		w.SuppressTrailingSpaces()
	}
	style.Format.Header = text.FormatDefault
	w.SetStyle(style)
	header := make(table.Row, len(t.header))
	for i, name := range t.header {
		header[i] = name
	}
	w.AppendHeader(header)
	w.AppendRows(t.rows)
	return w.Render()
}

// fields is a line per field, and an empty line between rows. A field without a value has none.
func (t *tableOf) fields() string {
	widest := 0
	for _, name := range t.header {
		widest = max(widest, text.StringWidthWithoutEscSequences(name))
	}
	var b strings.Builder
	for i, row := range t.rows {
		if i > 0 {
			b.WriteByte('\n')
		}
		for j, name := range t.header {
			if value := fmt.Sprint(row[j]); value != "" {
				fmt.Fprintf(&b, "%s  %s\n", text.Pad(name, widest, ' '), value)
			}
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}
