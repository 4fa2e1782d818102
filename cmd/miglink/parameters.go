package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/strict"
)

// parameters are the Go types of the parameters that this program knows.
var parameters = map[command.Type]reflect.Type{
	command.TypeRegisterRunner: reflect.TypeFor[command.RegisterRunner](),
	command.TypeDrain:          reflect.TypeFor[command.Drain](),
	command.TypeShutdown:       reflect.TypeFor[command.Shutdown](),
	command.TypeUpdateConfig:   reflect.TypeFor[command.UpdateConfig](),
	command.TypeSetLogLevel:    reflect.TypeFor[command.SetLogLevel](),
	command.TypeCancel:         reflect.TypeFor[command.Cancel](),
}

// checkNames refuses a parameter that a known type does not have: it would be sent, and ignored. Controllers and agents let it
// pass, since a newer agent may know it; who has written it is here.
func checkNames(c command.Command) error {
	known := strict.Fields(parameters[c.Type])
	if known == nil {
		return nil
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(c.Parameters, &given); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%s: %w; --unknown-parameters sends it all the same", c.Type, strict.Unknown("parameter", name, known))
		}
	}
	return nil
}
