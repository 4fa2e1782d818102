// Package secure is what this library's ends of TLS have in common: TLS 1.3 at least, unless somebody has
// said otherwise.
package secure

import "crypto/tls"

// TLS returns a copy of c, of Go's default where it is nil, that speaks TLS 1.3 and nothing older. Who has
// set a MinVersion, or a MaxVersion below that, has decided already.
func TLS(c *tls.Config) *tls.Config {
	if c == nil {
		return &tls.Config{MinVersion: tls.VersionTLS13}
	}
	c = c.Clone()
	if c.MinVersion == 0 && (c.MaxVersion == 0 || c.MaxVersion >= tls.VersionTLS13) {
		c.MinVersion = tls.VersionTLS13
	}
	return c
}
