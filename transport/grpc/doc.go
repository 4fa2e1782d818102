// Package grpc carries links over gRPC: one bidirectional stream per VM, miglink.v1.CommandLink/Attach,
// by connectrpc.com/connect, on the same server and port as the HTTP transports. The frames are those of
// package framed as Protocol Buffers; proto/miglink/v1/command_link.proto has their shape, from which a
// client in any language can be generated.
//
//	mux.Handle(grpc.Handler(c, grpc.HandlerOptions{}))
//
// It needs HTTP/2 all the way, encrypted or not, and the root of the server's paths, where clients of
// other implementations look for it.
package grpc
