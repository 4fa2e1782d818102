package oidc_test

import (
	"context"
	"fmt"

	"github.com/miglink/miglink/auth/oidc"
)

// Without the project, the instance of a name in anybody's project would pass.
func ExampleNew() {
	const controller = "https://controller.example.com"
	_, err := oidc.New(context.Background(), "https://accounts.google.com", controller, oidc.Options{
		VM: "google.compute_engine.instance_name",
	})
	fmt.Println(err)
	// Output: oidc: for accounts.google.com a required google.compute_engine.project_id is mandatory: an instance of the same name in another project would else pass
}
