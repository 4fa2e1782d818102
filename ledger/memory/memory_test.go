package memory_test

import (
	"testing"

	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/ledgertest"
	"github.com/miglink/miglink/ledger/memory"
)

func TestContract(t *testing.T) {
	ledgertest.Test(t, false, func(*testing.T, string) ledger.Ledger { return memory.New() })
}
