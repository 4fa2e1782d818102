package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller/admin"
)

// maxUnheard is how many VMs are named of which nothing was ever heard.
const maxUnheard = 20

// warnUnheard says of which VMs nothing was ever heard, since a name may be mistyped. It goes to standard error, so that it is
// seen beside JSON and before a wait.
func warnUnheard(statuses []admin.Status) {
	var vms []string
	for _, s := range statuses {
		if s.VMKnown != nil && !*s.VMKnown {
			vms = append(vms, s.VM)
		}
	}
	if len(vms) == 0 {
		return
	}
	slices.Sort(vms)
	vms = slices.Compact(vms)
	n, more := len(vms), ""
	if n > maxUnheard {
		vms, more = vms[:maxUnheard], fmt.Sprintf(" and %d more", n-maxUnheard)
	}
	fmt.Fprintf(os.Stderr, "miglink: nothing was ever heard of %d of these VMs; what is queued for them waits until they dial: %s%s\n",
		n, shown(strings.Join(vms, ", ")), more)
}

// asSent is a status after a wait, with what only the send has told.
func asSent(now, sent admin.Status) admin.Status {
	if now.Created = sent.Created; now.Stage == ack.Queued { // else the VM was heard of meanwhile
		now.VMKnown = sent.VMKnown
	}
	return now
}
