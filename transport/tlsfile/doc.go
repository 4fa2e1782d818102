// Package tlsfile makes TLS configurations of PEM files that are read again when they change, at either
// end: certificates, their keys and the authorities that are trusted can be replaced without a restart.
//
// The files are looked at when a connection is made, and no more than once a second. What cannot be used,
// such as a certificate whose new key is not there yet, is logged once, and what was read before stays in
// use. Connections that exist go on as they are.
//
// TLS 1.3 is the least that is spoken; set MinVersion of what is returned, before it is used, for less.
//
// To replace an authority without a moment in which the two ends do not know each other, have both trust the
// old and the new one, replace the certificates, and remove the old one then.
package tlsfile
