package gcppubsub_test

import (
	"context"
	"fmt"
	"log"

	"cloud.google.com/go/pubsub/v2/pstest"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/gcppubsub"
)

// Both halves, over a project. This one is the fake of Google's library; for a real one, leave Google out.
func Example() {
	fake := pstest.NewServer()
	defer fake.Close()
	google := []option.ClientOption{
		option.WithEndpoint(fake.Addr), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
	url := "gcppubsub://my-project"
	ctx := context.Background()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	l, err := gcppubsub.Listen(ctx, url, c, gcppubsub.ListenOptions{Google: google})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	t, err := gcppubsub.New(url, gcppubsub.Options{Google: google})
	if err != nil {
		log.Fatal(err)
	}
	link, err := t.Dial(ctx, transport.Hello{VM: "vm-1", Instance: "i-1"})
	if err != nil {
		log.Fatal(err)
	}
	defer link.Close()
	cmd, err := command.New(command.Drain{Reason: "deploy"}, command.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Send(ctx, "vm-1", cmd); err != nil {
		log.Fatal(err)
	}
	page, err := link.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(page[0].Type)
	// Output: drain
}
