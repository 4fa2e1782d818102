package ledgertest_test

import (
	"testing"

	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/ledgertest"
	"github.com/miglink/miglink/ledger/memory"
)

// The whole test of a ledger of your own. One that keeps its entries on disk opens them in dir, and
// is tested for that, too, where durable is true.
func ExampleTest() {
	_ = func(t *testing.T) { // func TestLedger(t *testing.T)
		ledgertest.Test(t, false, func(_ *testing.T, _ string) ledger.Ledger { return memory.New() })
	}
}
