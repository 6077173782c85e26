package driver

import "fmt"

// Code is the class of a failure, as wit/deps/driver/types.wit has it.
type Code uint8

// The classes, in the order of the contract.
const (
	NotFound Code = iota
	AlreadyExists
	InvalidArgument
	InUse
	Exhausted
	Unavailable
	NotImplemented
	Other
)

// Error is a failed call. Nothing that the call wrote or made remains. The user of docker reads the message: one sentence.
// Any other error of Go's counts as Other.
type Error struct {
	Code    Code
	Message string
}

func (e *Error) Error() string { return e.Message }

func fail(code Code, format string, arguments ...any) error {
	return &Error{code, fmt.Sprintf(format, arguments...)}
}
