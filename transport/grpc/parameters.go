package grpc

import (
	"bytes"
	"encoding/json"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/document"
	"github.com/miglink/miglink/internal/wirejson"
	pb "github.com/miglink/miglink/transport/grpc/miglinkv1"
)

// setParameters puts c's parameters into m, typed where the types hold every byte of them: what comes
// out at the other end is what was sent.
func setParameters(m *pb.Command, c command.Command) {
	if typed(m, c) {
		if bytes.Equal(parameters(m), c.Parameters) {
			return
		}
	}
	m.Parameters = &pb.Command_Json{Json: c.Parameters}
}

func typed(m *pb.Command, c command.Command) bool {
	switch c.Type {
	case command.TypeRegisterRunner:
		var p command.RegisterRunner
		if json.Unmarshal(c.Parameters, &p) != nil {
			return false
		}
		m.Parameters = &pb.Command_RegisterRunner{RegisterRunner: &pb.RegisterRunner{
			RegistrationToken: p.RegistrationToken.Reveal(), RunnerUrl: p.RunnerURL, RunnerGroup: p.RunnerGroup,
			Labels: p.Labels, ExpiresAt: toTime(p.ExpiresAt),
		}}
	case command.TypeDrain:
		var p command.Drain
		if json.Unmarshal(c.Parameters, &p) != nil {
			return false
		}
		m.Parameters = &pb.Command_Drain{Drain: &pb.Drain{Reason: p.Reason, Timeout: toDuration(time.Duration(p.Timeout))}}
	case command.TypeShutdown:
		var p command.Shutdown
		if json.Unmarshal(c.Parameters, &p) != nil {
			return false
		}
		m.Parameters = &pb.Command_Shutdown{Shutdown: &pb.Shutdown{Reason: p.Reason, Force: p.Force}}
	case command.TypeUpdateConfig:
		var p command.UpdateConfig
		if json.Unmarshal(c.Parameters, &p) != nil {
			return false
		}
		// Each object of it takes three levels of messages, and each array two.
		if depth, ok := document.Depth(c.Parameters); !ok || depth > mostTyped {
			return false
		}
		value, err := structpb.NewValue(p.ConfigValue)
		if err != nil {
			return false
		}
		m.Parameters = &pb.Command_UpdateConfig{UpdateConfig: &pb.UpdateConfig{ConfigKey: p.ConfigKey, ConfigValue: value}}
	case command.TypeSetLogLevel:
		var p command.SetLogLevel
		if json.Unmarshal(c.Parameters, &p) != nil {
			return false
		}
		m.Parameters = &pb.Command_SetLogLevel{SetLogLevel: &pb.SetLogLevel{Level: p.Level}}
	default:
		return false
	}
	return true
}

// mostTyped is how deep parameters may be nested to go typed: Protocol Buffers of other languages refuse a message with more
// than 100 levels.
const mostTyped = 16

// unreadable stands for parameters that do not decode. It is JSON, so that whoever passes a command on can, and no object,
// so that the agent rejects that command, and it alone: an error would end the link, and each one that follows.
var unreadable = command.Parameters(`"these parameters were not JSON"`)

// parameters are those of m as JSON; none are an empty object.
func parameters(m *pb.Command) command.Parameters {
	var p command.Params
	switch m := m.GetParameters().(type) {
	case nil:
		return command.Parameters("{}")
	case *pb.Command_Json:
		if !json.Valid(m.Json) {
			return unreadable
		}
		return m.Json
	case *pb.Command_RegisterRunner:
		r := m.RegisterRunner
		p = command.RegisterRunner{
			RegistrationToken: command.Secret(r.GetRegistrationToken()), RunnerURL: r.GetRunnerUrl(), RunnerGroup: r.GetRunnerGroup(),
			Labels: r.GetLabels(), ExpiresAt: fromTime(r.GetExpiresAt()),
		}
	case *pb.Command_Drain:
		p = command.Drain{Reason: m.Drain.GetReason(), Timeout: command.Duration(m.Drain.GetTimeout().AsDuration())}
	case *pb.Command_Shutdown:
		p = command.Shutdown{Reason: m.Shutdown.GetReason(), Force: m.Shutdown.GetForce()}
	case *pb.Command_UpdateConfig:
		p = command.UpdateConfig{ConfigKey: m.UpdateConfig.GetConfigKey(), ConfigValue: m.UpdateConfig.GetConfigValue().AsInterface()}
	case *pb.Command_SetLogLevel:
		p = command.SetLogLevel{Level: m.SetLogLevel.GetLevel()}
	}
	raw, err := wirejson.Marshal(p)
	if err != nil {
		return unreadable
	}
	return raw
}
