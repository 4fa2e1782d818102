package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/miglink/miglink/controller/admin"
)

// wait returns the latest status, also with an error; late says that the command is not known to be settled after d. It goes
// on asking where the controller is away meanwhile.
func wait(ctx context.Context, client *admin.Client, s admin.Status, d time.Duration) (latest admin.Status, late, err error) {
	limit, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return waitUntil(ctx, limit, client, s)
}

// waitUntil is wait until limit, which is of ctx and has a deadline, ends.
func waitUntil(ctx, limit context.Context, client *admin.Client, s admin.Status) (latest admin.Status, late, err error) {
	latest = s
	a := &asker{limit: time.Duration(math.MaxInt64)}
	a.reached.Store(true) // it has told the ID
	var gone error        // why nothing is heard now
	_, err = a.ask(limit, func(ctx context.Context) error {
		now, err := client.Wait(ctx, s.ID)
		if now.ID != "" {
			latest, gone = now, nil
		}
		if transient(err) {
			gone = err
		}
		return err
	})
	switch {
	case err == nil:
		return latest, nil, nil
	case ctx.Err() != nil:
		return latest, nil, &exitError{exitInterrupted, fmt.Errorf("interrupted; %s is %s, and goes on", s.ID, latest.Stage)}
	case gone != nil && limit.Err() != nil:
		return latest, &exitError{exitTimeout, fmt.Errorf("%s was %s when the controller was last heard of; it goes on: %w", s.ID, latest.Stage, gone)}, nil
	case errors.Is(err, context.DeadlineExceeded):
		return latest, &exitError{exitTimeout, fmt.Errorf("%s is %s, and the time to wait is up; it goes on", s.ID, latest.Stage)}, nil
	}
	return latest, nil, fmt.Errorf("%s is recorded, but its outcome cannot be waited for: %w", s.ID, err)
}
