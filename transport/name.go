package transport

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxVM bounds the name of a VM, in bytes.
const MaxVM = 128

// ValidateVM returns an invalid error for a name that no VM can have: empty, longer than MaxVM, not
// UTF-8, "." or "..", or with a control character (also U+0080 to U+009F) or a star, which in a pattern of VMs stands for
// others.
func ValidateVM(vm string) error {
	switch {
	case vm == "":
		return Errorf(CodeInvalid, "vm_id is empty")
	case len(vm) > MaxVM:
		return Errorf(CodeInvalid, "vm_id has %d bytes, at most %d are allowed", len(vm), MaxVM)
	case !utf8.ValidString(vm):
		return Errorf(CodeInvalid, "vm_id is not UTF-8")
	case vm == "." || vm == "..": // a path would lose them
		return Errorf(CodeInvalid, "vm_id is %q", vm)
	case strings.ContainsFunc(vm, unicode.IsControl):
		return Errorf(CodeInvalid, "vm_id holds a control character")
	case strings.Contains(vm, "*"):
		return Errorf(CodeInvalid, "vm_id holds a *, which in grants and tokens stands for other VMs")
	}
	return nil
}
