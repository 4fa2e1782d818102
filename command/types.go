package command

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"
)

// RegisterRunner asks the agent to register a CI runner and start taking jobs.
type RegisterRunner struct {
	RegistrationToken Secret    `json:"registration_token"`
	RunnerURL         string    `json:"runner_url"`
	RunnerGroup       string    `json:"runner_group,omitempty"`
	Labels            []string  `json:"labels,omitempty"`
	ExpiresAt         time.Time `json:"expires_at,omitzero" secret:"with"` // of the token
}

// LogValue is without the token, also where a handler logs JSON.
func (p RegisterRunner) LogValue() slog.Value { return LogValue(p) }

// Drain asks the agent to take no more jobs and to finish what runs.
type Drain struct {
	Reason  string   `json:"reason,omitempty"`
	Timeout Duration `json:"timeout,omitzero"` // how long to wait for running jobs; 0 is the agent's choice
}

// Shutdown asks the agent to end the VM.
type Shutdown struct {
	Reason string `json:"reason,omitempty"`
	Force  bool   `json:"force,omitempty"` // do not wait for a running job
}

// UpdateConfig sets one configuration value. A number in it is a json.Number where [Decode] has read it. It is no [Secret]: audits show it, and ledgers keep it. Secrets want a type
// of their own.
type UpdateConfig struct {
	ConfigKey   string `json:"config_key"`
	ConfigValue any    `json:"config_value"`
}

// SetLogLevel sets the level of the agent's logger.
type SetLogLevel struct {
	Level string `json:"level"` // one of LogLevels, in any case
}

// Cancel asks the agent to give up another command of the same VM. A controller sends it; users
// call its Cancel method instead.
type Cancel struct {
	CommandID string `json:"command_id"`
	Reason    string `json:"reason,omitempty"`
}

// LogLevels are the levels that [SetLogLevel] accepts.
var LogLevels = []string{"debug", "info", "warn", "error"}

// CommandType is register_runner.
func (RegisterRunner) CommandType() Type { return TypeRegisterRunner }

// CommandType is drain.
func (Drain) CommandType() Type { return TypeDrain }

// CommandType is shutdown.
func (Shutdown) CommandType() Type { return TypeShutdown }

// CommandType is update_config.
func (UpdateConfig) CommandType() Type { return TypeUpdateConfig }

// CommandType is set_log_level.
func (SetLogLevel) CommandType() Type { return TypeSetLogLevel }

// CommandType is cancel.
func (Cancel) CommandType() Type { return TypeCancel }

// Validate requires a token and an absolute HTTP URL, and labels that are not empty.
func (p RegisterRunner) Validate() error {
	if p.RegistrationToken == "" {
		return errors.New("registration_token is empty")
	}
	u, err := url.Parse(p.RunnerURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("runner_url is not an http or https URL")
	}
	if slices.Contains(p.Labels, "") {
		return errors.New("labels holds an empty label")
	}
	return nil
}

// Validate requires a timeout that is not negative.
func (p Drain) Validate() error {
	if p.Timeout < 0 {
		return errors.New("timeout is negative")
	}
	return nil
}

// Validate accepts every value.
func (p Shutdown) Validate() error { return nil }

// Validate requires a key.
func (p UpdateConfig) Validate() error {
	if p.ConfigKey == "" {
		return errors.New("config_key is empty")
	}
	return nil
}

// Validate requires one of [LogLevels], in any case.
func (p SetLogLevel) Validate() error {
	if !slices.Contains(LogLevels, strings.ToLower(p.Level)) {
		return fmt.Errorf("level is not one of %s", strings.Join(LogLevels, ", "))
	}
	return nil
}

// Validate requires the ID of the command to cancel.
func (p Cancel) Validate() error { return validName("command_id", p.CommandID, true) }

// validateKnown validates the parameters of the types of this package; others pass.
func validateKnown(c Command) error {
	var err error
	switch c.Type {
	case TypeRegisterRunner:
		_, err = Decode[RegisterRunner](c)
	case TypeDrain:
		_, err = Decode[Drain](c)
	case TypeShutdown:
		_, err = Decode[Shutdown](c)
	case TypeUpdateConfig:
		_, err = Decode[UpdateConfig](c)
	case TypeSetLogLevel:
		_, err = Decode[SetLogLevel](c)
	case TypeCancel:
		_, err = Decode[Cancel](c)
	}
	return err
}
