package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/controller/audit"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// Operators with grants, each of whose requests is on record.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "miglink")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file, err := audit.Open(filepath.Join(dir, "audit.log"))
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()

	operators := admin.Tokens(func(token string) (name string, grants []string, expires time.Time, err error) {
		if token != "deployer's token" { // of a secret store, or a signature that is checked
			return "", nil, time.Time{}, errors.New("unknown token")
		}
		return "deployer", []string{"read", "send:drain@pool-*"}, time.Now().Add(time.Hour), nil
	})
	server := httptest.NewServer(http.StripPrefix("/admin", admin.Handler(c, admin.Options{Authenticator: operators, Audit: file})))
	defer server.Close()

	client, err := admin.NewClient(server.URL+"/admin", transport.Config{
		Token: func(context.Context) (string, error) { return "deployer's token", nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range []admin.Send{
		{VM: "pool-7", Type: command.TypeDrain, ID: "c-1"},
		{VM: "pool-7", Type: command.TypeShutdown, ID: "c-2"},
	} {
		_, err := client.Send(ctx, s)
		fmt.Println(s.ID, err)
	}
	lines, err := os.ReadFile(filepath.Join(dir, "audit.log"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.Count(string(lines), `"operator":"deployer"`), "lines")
	// Output:
	// c-1 <nil>
	// c-2 miglink: forbidden: this needs the grant send:shutdown@pool-7
	// 2 lines
}
