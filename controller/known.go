package controller

import "context"

// knownBy is how many of a VM's latest commands tell whether it was ever heard of.
const knownBy = 32

// Known says whether anything was ever heard of a VM, as far as this controller remembers, and the latest commands of the VM
// tell. A VM that is not known may be one that will come, or a name that was mistyped: a command for it is queued all the same.
func (c *Controller) Known(ctx context.Context, vm string) (bool, error) {
	if c.lookup(vm) != nil {
		return true, nil
	}
	latest, err := c.ledger.List(ctx, vm, 0, knownBy)
	if err != nil {
		return false, getError(err)
	}
	for i := range latest {
		if latest[i].FromAgent() {
			return true, nil
		}
	}
	return false, nil
}
