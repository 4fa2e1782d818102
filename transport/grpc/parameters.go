package grpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/wirejson"
	pb "github.com/miglink/miglink/transport/grpc/miglinkv1"
)

// setParameters puts c's parameters into m, typed where the types hold every byte of them: what comes
// out at the other end is what was sent.
func setParameters(m *pb.Command, c command.Command) {
	if typed(m, c) {
		if back, err := parameters(m); err == nil && bytes.Equal(back, c.Parameters) {
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

var errNoParameters = errors.New("grpc: the controller sent a command whose parameters do not encode")

// parameters are those of m as JSON; none are an empty object.
func parameters(m *pb.Command) (command.Parameters, error) {
	var p command.Params
	switch m := m.GetParameters().(type) {
	case nil:
		return command.Parameters("{}"), nil
	case *pb.Command_Json:
		if !json.Valid(m.Json) {
			return nil, errNoParameters
		}
		return m.Json, nil
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
		return nil, errNoParameters
	}
	return raw, nil
}
