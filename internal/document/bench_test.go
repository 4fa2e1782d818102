package document_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/miglink/miglink/internal/document"
)

var documents = map[string]string{
	"small": `{"level":"debug","component":"runner","sequence":12345,"quiet":false}`,
	"large": `{"list":[` + strings.Repeat(`{"name":"a runner of some name","labels":["linux","x64"],"size":1.5e3},`, 1000) + `null]}`,
	"text":  `"` + strings.Repeat("output of a program, é, and a line end\\n", 1000) + `"`,
}

// BenchmarkCheck is beside json.Valid, which was asked before and looks for less.
func BenchmarkCheck(b *testing.B) {
	for name, s := range documents {
		doc := []byte(s)
		b.Run(name+"/check", func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if document.Check("result", doc, document.Rules{Bytes: 1 << 20}) != nil {
					b.Fatal()
				}
			}
		})
		b.Run(name+"/valid", func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			for b.Loop() {
				if !json.Valid(doc) {
					b.Fatal()
				}
			}
		})
	}
}

func BenchmarkCheckText(b *testing.B) {
	id := "0192f0c4-d2a7-7c1e-9f3b-8a6d5e4c0001-and-so-on"
	b.ReportAllocs()
	for b.Loop() {
		if document.CheckName("id", id, 128) != nil {
			b.Fatal()
		}
	}
}
