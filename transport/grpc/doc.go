// Package grpc carries links over gRPC: one bidirectional stream per VM, miglink.v1.CommandLink/Attach,
// by connectrpc.com/connect, on the same server and port as the HTTP transports. The frames are those of
// package framed as Protocol Buffers; proto/miglink/v1/command_link.proto has their shape, from which a
// client in any language can be generated.
//
//	mux.Handle(grpc.Handler(c, grpc.HandlerOptions{}))
//
// No page in a browser may use it: see package transport/web. Its streams have no limit of time, as links do not, but a
// hello has 10 s.
//
// It needs HTTP/2 all the way, encrypted or not, and the root of the server's paths, where clients of
// other implementations look for it. Where a proxy keeps a path for the controller, as in https://host/team/api/v1, a
// Transport looks for it below that path, here /team; a server that is mounted so itself takes the path off:
//
//	path, h := grpc.Handler(c, grpc.HandlerOptions{})
//	mux.Handle("/team"+path, http.StripPrefix("/team", h))
package grpc
