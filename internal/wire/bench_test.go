package wire_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/transport"
)

// perPage is how many each page of the benchmarks holds; what they report is for one of them.
const perPage = 64

var benchTime = time.Date(2026, 11, 25, 8, 57, 30, 123456789, time.UTC)

func benchPage() []transport.Delivery {
	page := make([]transport.Delivery, perPage)
	for i := range page {
		page[i] = transport.Delivery{
			Cursor: transport.Cursor(fmt.Sprintf("0192f0c4d2a7.%d.%d", i, 1000+i)), Attempt: 1, AckWithin: command.Duration(30 * time.Second),
			Command: command.Command{
				ID: fmt.Sprintf("0192f0c4-d2a7-7c1e-9f3b-8a6d5e4c%04x", i), Type: command.TypeSetLogLevel,
				Parameters: command.Parameters(`{"level":"debug","component":"runner","sequence":12345,"quiet":false}`),
				CreatedAt:  benchTime, ExpiresAt: benchTime.Add(time.Hour),
			},
		}
	}
	return page
}

func benchAcks() []ack.Ack {
	acks := make([]ack.Ack, perPage)
	for i := range acks {
		acks[i] = ack.Ack{
			CommandID: fmt.Sprintf("0192f0c4-d2a7-7c1e-9f3b-8a6d5e4c%04x", i), Stage: ack.Succeeded, Attempt: 1, Time: benchTime,
		}
		if i%4 == 0 {
			acks[i].Result = json.RawMessage(`{"exit_code":0,"took":"1.5s"}`)
		}
	}
	return acks
}

func each(b *testing.B, size int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/perPage, "ns/each")
	b.ReportMetric(float64(size)/perPage, "bytes/each")
}

func BenchmarkReadDeliveries(b *testing.B) {
	in, err := wire.Deliveries(nil, benchPage())
	require.NoError(b, err)
	var page []transport.Delivery
	read := func(r *wire.Reader) { page = wire.ReadDeliveries(r) }
	b.ReportAllocs()
	for b.Loop() {
		if err := wire.Read(in, read); err != nil || len(page) != perPage {
			b.Fatal(err, len(page))
		}
	}
	each(b, len(in))
}

func BenchmarkReadAcks(b *testing.B) {
	in, err := wire.Acks(nil, benchAcks())
	require.NoError(b, err)
	var acks []ack.Ack
	read := func(r *wire.Reader) { acks = wire.ReadAcks(r) }
	b.ReportAllocs()
	for b.Loop() {
		if err := wire.Read(in, read); err != nil || len(acks) != perPage {
			b.Fatal(err, len(acks))
		}
	}
	each(b, len(in))
}

func BenchmarkDeliveries(b *testing.B) {
	page := benchPage()
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if out, err = wire.Deliveries(out[:0], page); err != nil {
			b.Fatal(err)
		}
	}
	each(b, len(out))
}

func BenchmarkAcks(b *testing.B) {
	acks := benchAcks()
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if out, err = wire.Acks(out[:0], acks); err != nil {
			b.Fatal(err)
		}
	}
	each(b, len(out))
}
