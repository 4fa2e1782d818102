package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/miglink/miglink/auth"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

type tokenCmd struct {
	Keys     string        `required:"" help:"Directory of the controller's keys." placeholder:"DIR"`
	NewKey   bool          `help:"Make the first key, or the next: it signs from now on. Delete an old one once its tokens have expired."`
	VM       string        `help:"A token for this VM." placeholder:"ID"`
	VMs      []string      `name:"vms" help:"A token for a relay that speaks for the VMs of this pattern. Repeatable." placeholder:"PATTERN" sep:"none"`
	Operator string        `help:"A token for this operator." placeholder:"NAME"`
	Grant    []string      `help:"What the operator may do: read or send, for all, or for types and VMs, as in send:drain@pool-*. Repeatable." placeholder:"GRANT" sep:"none"`
	TTL      time.Duration `name:"ttl" default:"1h" help:"How long the token is good."`
}

func (c *tokenCmd) Run() error {
	if err := c.check(); err != nil {
		return err
	}
	if c.NewKey {
		kid, err := auth.NewKey(c.Keys)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		fmt.Fprintf(os.Stderr, "key: %s\n", filepath.Join(c.Keys, kid+".pem"))
		if !c.wanted() {
			return nil
		}
	}
	keys, err := auth.OpenKeys(c.Keys, auth.KeysOptions{})
	if err != nil {
		if errors.Is(err, auth.ErrNoKeys) || errors.Is(err, fs.ErrNotExist) {
			return usage("%w (--new-key makes one)", err)
		}
		return &exitError{exitUsage, err}
	}
	claims, audience := c.claims()
	token, err := keys.Issue(claims, audience)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	fmt.Fprintf(os.Stderr, "token: %s, good until %s\n", c.whose(), claims.Expires.Format(time.RFC3339))
	_, err = fmt.Println(token)
	return err
}

// wanted says whether a token is asked for.
func (c *tokenCmd) wanted() bool { return c.VM != "" || len(c.VMs) > 0 || c.Operator != "" }

func (c *tokenCmd) check() error {
	switch {
	case !c.wanted() && !c.NewKey:
		return usage("token wants one of --vm, --vms, --operator and --new-key")
	case c.VM != "" && len(c.VMs) > 0:
		return usage("--vm is for one VM, --vms for a relay that speaks for many")
	case c.Operator != "" && (c.VM != "" || len(c.VMs) > 0):
		return usage("a token is a VM's or an operator's, not both")
	case c.Operator != "" && len(c.Grant) == 0:
		return usage("--operator without --grant may do nothing")
	case c.Operator == "" && len(c.Grant) > 0:
		return usage("--grant is for --operator")
	case c.TTL < time.Second:
		return usage("--ttl is less than a second")
	}
	if c.VM != "" {
		if err := transport.ValidateVM(c.VM); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	if _, err := admin.ParseGrants(c.Grant); err != nil {
		return usage("--grant: %w", err)
	}
	for _, pattern := range c.VMs {
		if err := auth.CheckVMPattern(pattern); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	return nil
}

func (c *tokenCmd) claims() (auth.Claims, string) {
	claims := auth.Claims{Subject: c.VM, VMs: c.VMs, Expires: time.Now().Add(c.TTL)}
	if c.Operator != "" {
		claims.Subject, claims.Grants = c.Operator, c.Grant
		return claims, auth.AudienceOperator
	}
	if len(c.VMs) > 0 {
		claims.Subject = "relay"
	}
	return claims, auth.AudienceAgent
}

// whose says whom the token is for.
func (c *tokenCmd) whose() string {
	switch {
	case c.Operator != "":
		return fmt.Sprintf("operator %s with %q", c.Operator, c.Grant)
	case c.VM != "":
		return "VM " + c.VM
	}
	return fmt.Sprintf("a relay for %q", c.VMs)
}
