package admin

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/httplink"
)

// Forgotten is what came of forgetting a VM.
type Forgotten struct {
	VM    string `json:"vm_id"`
	Ended int    `json:"ended"` // commands that waited for it
}

func settle(d *desk, w http.ResponseWriter, r *http.Request) error {
	id, err := httplink.PathValue(r, "id")
	if err != nil {
		return err
	}
	var body struct {
		Stage  ack.Stage `json:"stage"`
		Reason string    `json:"reason"`
	}
	done, err := d.decode(w, r, &body)
	if err != nil {
		return err
	}
	defer done()
	status, err := d.Settle(r.Context(), id, cmp.Or(body.Stage, ack.Dead), body.Reason)
	if err == nil {
		httplink.WriteJSON(w, http.StatusOK, status)
	}
	return err
}

func forget(d *desk, w http.ResponseWriter, r *http.Request) error {
	name, err := httplink.PathValue(r, "vm_id")
	if err != nil {
		return err
	}
	var body struct {
		Force bool `json:"force"`
	}
	done, err := d.decode(w, r, &body)
	if err != nil {
		return err
	}
	defer done()
	forgotten, err := d.Forget(r.Context(), name, body.Force)
	if err == nil {
		httplink.WriteJSON(w, http.StatusOK, forgotten)
	}
	return err
}

// Settle needs a grant to settle the command.
func (d *desk) Settle(ctx context.Context, id string, stage ack.Stage, reason string) (Status, error) {
	e, err := d.h.c.Get(ctx, id)
	r := Record{CommandID: id, Stage: stage}
	if err == nil {
		r.VM, r.Type = e.VM, e.Command.Type
		err = d.mayEnd(VerbSettle, e)
	}
	before := e.State
	err = d.change(ctx, r, err, func() (err error) {
		e, err = d.h.c.Settle(ctx, id, stage, reason)
		return err
	})
	if err != nil {
		return Status{}, err
	}
	if before.Settled() {
		d.vain(&r)
	}
	return d.told(e), nil
}

// Forget needs a grant to settle commands of the VM of every type, since it ends them whatever they are.
func (d *desk) Forget(ctx context.Context, vm string, force bool) (Forgotten, error) {
	r := Record{VM: vm, Force: force}
	var may error
	if !d.op.mayAll(VerbSettle, vm) {
		may = needs(Grant{Verb: VerbSettle, VM: vm})
	}
	var ended []string
	err := d.change(ctx, r, may, func() (err error) {
		ended, err = d.h.c.Forget(ctx, vm, force)
		return err
	})
	d.recordEnded(ctx, r, ended) // also where it failed in the middle
	if err == nil && len(ended) == 0 {
		d.vain(&r)
	}
	return Forgotten{VM: vm, Ended: len(ended)}, err
}

// recordEnded records which commands something has ended. They have by then, so that it cannot be recorded is for the log.
func (d *desk) recordEnded(ctx context.Context, r Record, ids []string) {
	for ended := range slices.Chunk(ids, maxEnded) {
		r.Ended = ended
		_ = d.record(context.WithoutCancel(ctx), r, nil) // the client may be gone: it has happened all the same
	}
}
