// Package framed is the protocol between the two halves of an adapter whose network carries messages:
// it turns a pipe of frames into a transport.Link, and serves a transport.Transport over one.
//
// The agent says hello, the controller answers with welcome, or with close and why. From then on
// commands, the answers to acks and to events, and pings come down; acks, events and pings go up.
// Frames are numbered in each direction, so that a pipe that loses, repeats or reorders one is
// noticed: the link ends, and the next one resumes at the cursor.
//
// An adapter is a Pipe: Send, Recv, Close. What it need not care for is here: the handshake, joining
// acks that wait into one frame, answering them, liveness of both ends, and telling why a link ends.
package framed
