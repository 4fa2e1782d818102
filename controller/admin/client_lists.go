package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/httplink"
)

// VMs returns a page of the VMs that are known, by name.
func (c *Client) VMs(ctx context.Context, q controller.Query) (controller.Page[controller.Presence], error) {
	return getPage[controller.Presence](ctx, c, "/vms", "vms", q)
}

// Fleet returns every VM that is known, by name, in as many requests as that takes.
func (c *Client) Fleet(ctx context.Context) ([]controller.Presence, error) {
	var fleet []controller.Presence
	for q := (controller.Query{Limit: controller.MaxPage}); ; {
		page, err := c.VMs(ctx, q)
		if err != nil {
			return nil, err
		}
		fleet = append(fleet, page.Items...)
		if page.Next == "" {
			return fleet, nil
		}
		q.After = page.Next
	}
}

// Unsettled returns a page of the commands of all VMs that are not settled: by VM, and those of one by Seq.
func (c *Client) Unsettled(ctx context.Context, q controller.Query) (controller.Page[Status], error) {
	return getPage[Status](ctx, c, "/unsettled", "commands", q)
}

// getPage asks for one page of a list, whose elements come under a name.
func getPage[T any](ctx context.Context, c *Client, path, name string, q controller.Query) (page controller.Page[T], err error) {
	v := url.Values{}
	for field, s := range map[string]string{"after": q.After, "match": q.Match, "state": q.State} {
		if s != "" {
			v.Set(field, s)
		}
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if len(v) > 0 {
		path += "?" + v.Encode()
	}
	var out map[string]json.RawMessage
	if err = c.call(ctx, http.MethodGet, path, nil, &out, func() bool { return out[name] != nil }); err != nil {
		return page, err
	}
	err = json.Unmarshal(out[name], &page.Items)
	if after := out["after"]; err == nil && after != nil {
		err = json.Unmarshal(after, &page.Next)
	}
	switch {
	case err != nil:
		return page, fmt.Errorf("the answer is not that of a controller: %w", err)
	case page.Next != "" && page.Next == q.After: // it would be asked for without end
		page.Next = ""
	}
	return page, nil
}

// Settle says what became of a command in its agent's place; an empty stage is dead.
func (c *Client) Settle(ctx context.Context, id string, stage ack.Stage, reason string) (Status, error) {
	return c.status(ctx, http.MethodPost, "/commands/"+httplink.Segment(id)+"/settle", map[string]string{"stage": string(stage), "reason": reason}, is(id))
}

// Forget ends what waits for a VM that will not come back, and drops it from the fleet. One with an open link is refused,
// unless force is set.
func (c *Client) Forget(ctx context.Context, vm string, force bool) (Forgotten, error) {
	var out Forgotten
	err := c.call(ctx, http.MethodPost, "/vms/"+httplink.Segment(vm)+"/forget", map[string]bool{"force": force}, &out, func() bool { return out.VM == vm })
	return out, err
}
