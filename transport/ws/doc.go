// Package ws carries links over WebSocket: one connection per VM, both ways, by github.com/gorilla/websocket.
//
// Messages are text, one JSON frame of package framed each; the subprotocol is miglink.v1.greeted, where the
// request is the hello, or miglink.v1, where the first frame is. There is no compression: messages are small, and
// what a compressed message grows to is hard to bound.
package ws
