package tlsfile_test

import (
	"context"
	"log"
	"net/http"

	"github.com/miglink/miglink/transport/tlsfile"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// The controller's end: HTTPS with a certificate that is read again when it is replaced.
func ExampleServer() {
	config, err := tlsfile.Server(tlsfile.ServerFiles{Cert: "/etc/miglink/tls.crt", Key: "/etc/miglink/tls.key"})
	if err != nil {
		log.Print(err) // there is no such file
		return
	}
	server := web.NewServer(context.Background(), http.NotFoundHandler(), web.ServerOptions{})
	server.Addr, server.TLSConfig = ":8443", config
	log.Fatal(server.ListenAndServeTLS("", ""))
}

// The agent's end: a private authority, and a certificate to show.
func ExampleClient() {
	config, err := tlsfile.Client(tlsfile.ClientFiles{
		CA: "/etc/miglet/ca.crt", Cert: "/etc/miglet/tls.crt", Key: "/etc/miglet/tls.key",
	})
	if err != nil {
		log.Print(err) // there is no such file
		return
	}
	t, err := ws.New("https://controller.example.com", ws.Options{TLS: config})
	if err != nil {
		log.Fatal(err)
	}
	_ = t // for agent.New
}
