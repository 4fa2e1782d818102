package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/controller/audit"
)

// auditing is the controller's audit file, if it has one.
type auditing struct {
	audit admin.Audit // nil: none
	close func()
}

// audit opens the file that is asked for, and opens it anew at each SIGHUP.
func (c *controllerCmd) audit(log *slog.Logger) (auditing, error) {
	if c.Audit == "" {
		return auditing{close: func() {}}, nil
	}
	file, err := audit.Open(c.Audit)
	if err != nil {
		return auditing{}, usage("--audit: %w", err)
	}
	hangup, closed := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		defer close(closed)
		for range hangup {
			if err := file.Reopen(); err != nil {
				log.Error("cannot open the audit anew", "component", "audit", "error", err)
			}
		}
	}()
	return auditing{file, func() {
		signal.Stop(hangup)
		close(hangup)
		<-closed
		if err := file.Close(); err != nil {
			log.Error("the audit may lack its last lines", "component", "audit", "error", err)
		}
	}}, nil
}
