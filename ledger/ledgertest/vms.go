package ledgertest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

func (s *suite) vms(q ledger.VMQuery) []ledger.VM {
	s.Helper()
	vms, err := s.l.VMs(s.Context(), q)
	require.NoError(s, err)
	return vms
}

// prune forgets whatever is settled.
func (s *suite) prune() {
	s.Helper()
	s.now = s.now.Add(time.Hour)
	for {
		n, err := s.l.Prune(s.Context(), s.now, 7)
		require.NoError(s, err)
		if n < 7 {
			return
		}
	}
}

// testVMsInPages asks for VMs that wait, that are settled and that are both, a page at a time.
func testVMsInPages(s *suite) {
	var all, unsettled []ledger.VM
	for i := range 100 {
		name := fmt.Sprintf("vm-%d", i)
		for range i % 3 {
			s.append(name, command.Options{Urgent: i%2 == 0})
		}
		if i%3 > 0 {
			unsettled = append(unsettled, ledger.VM{Name: name, Pending: i % 3})
		}
		if i%4 > 0 {
			s.acked(name, s.append(name, command.Options{}).Command.ID, ack.Succeeded)
		}
		if i%3 > 0 || i%4 > 0 {
			all = append(all, ledger.VM{Name: name, Pending: i % 3})
		}
	}
	byName := func(a, b ledger.VM) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(all, byName)
	slices.SortFunc(unsettled, byName)
	for _, limit := range []int{0, 1, 7, 99, 1000} {
		for want, q := range map[*[]ledger.VM]ledger.VMQuery{&all: {Limit: limit}, &unsettled: {Limit: limit, Unsettled: true}} {
			var got []ledger.VM
			for {
				page := s.vms(q)
				if limit > 0 {
					require.LessOrEqual(s, len(page), limit)
				}
				if len(page) == 0 {
					break
				}
				got = append(got, page...)
				q.After = page[len(page)-1].Name
			}
			require.Equal(s, *want, got, "%+v", q)
		}
	}
	require.Equal(s, all[3:5], s.vms(ledger.VMQuery{After: all[2].Name, Limit: 2}))
	require.Empty(s, s.vms(ledger.VMQuery{After: "vn"}))
}

// testVMsThatAreGone prunes all of a VM: nothing is kept of it, but that its numbers were used.
func testVMsThatAreGone(s *suite) {
	numbers := map[string]uint64{} // the highest of each VM
	for i := range 20 {
		vm := fmt.Sprintf("vm-%d", i)
		for range i + 1 {
			e := s.append(vm, command.Options{Urgent: i%2 == 0})
			numbers[vm] = e.Seq
			s.acked(vm, e.Command.ID, ack.Succeeded)
		}
	}
	waits := s.append("vm-3", command.Options{})
	s.acked("vm-4", s.append("vm-4", command.Options{}).Command.ID, ack.Failed)
	s.prune()
	require.Equal(s, []ledger.VM{{Name: "vm-3", Pending: 1}}, s.vms(ledger.VMQuery{}))
	again := s.append("vm-3", command.Options{})
	require.Equal(s, waits.Seq+1, again.Seq, "a VM that has something goes on as it was")
	for vm, last := range numbers {
		e := s.append(vm, command.Options{})
		require.Greater(s, e.Seq, last, "a number of %s is used once", vm)
		require.Contains(s, s.pending(vm, ledger.Normal, last, 0), e.Command.ID)
		require.Equal(s, e.Seq+1, s.append(vm, command.Options{}).Seq)
	}
	require.Len(s, s.vms(ledger.VMQuery{}), len(numbers))
	// One of two: the VM is still there.
	s.acked("vm-y", s.append("vm-y", command.Options{}).Command.ID, ack.Succeeded)
	s.now = s.now.Add(time.Hour)
	then := s.now
	s.acked("vm-y", s.append("vm-y", command.Options{}).Command.ID, ack.Succeeded)
	_, err := s.l.Prune(s.Context(), then, 1000)
	require.NoError(s, err)
	require.Contains(s, s.vms(ledger.VMQuery{}), ledger.VM{Name: "vm-y"})
	// Out of order: a later number is forgotten while an earlier one waits.
	first, second := s.append("vm-x", command.Options{}), s.append("vm-x", command.Options{})
	s.acked("vm-x", second.Command.ID, ack.Succeeded)
	s.prune()
	s.acked("vm-x", first.Command.ID, ack.Succeeded)
	s.prune()
	require.NotContains(s, s.vms(ledger.VMQuery{}), ledger.VM{Name: "vm-x"})
	require.Greater(s, s.append("vm-x", command.Options{}).Seq, second.Seq)
}

func testVMsThatAreGoneReopen(s *suite) {
	var last uint64
	for range 30 {
		e := s.append("vm-1", command.Options{})
		s.acked("vm-1", e.Command.ID, ack.Succeeded)
		last = e.Seq
	}
	first, second := s.append("vm-2", command.Options{}), s.append("vm-2", command.Options{})
	s.acked("vm-2", second.Command.ID, ack.Succeeded)
	s.prune()
	s.reopen()
	require.Equal(s, []ledger.VM{{Name: "vm-2", Pending: 1}}, s.vms(ledger.VMQuery{}))
	s.acked("vm-2", first.Command.ID, ack.Succeeded)
	s.prune()
	require.Empty(s, s.vms(ledger.VMQuery{}))
	s.reopen()
	require.Empty(s, s.vms(ledger.VMQuery{}))
	require.Greater(s, s.append("vm-1", command.Options{}).Seq, last)
	require.Greater(s, s.append("vm-2", command.Options{}).Seq, second.Seq)
}
