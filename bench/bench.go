package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// maxWindow bounds the commands under way to one VM.
const maxWindow = 1024

// Options of a run. Program is needed, the rest has defaults.
type Options struct {
	// Program is a command line that calls RunChild with the one argument that is added to it.
	Program []string

	Measures   []string // of Measures; default: all
	Transports []string // of Transports, and tcp, a bare loop by itself; default: those that need nothing outside
	Ledgers    []string // memory, bolt; default: both

	// Controller is the URL of one elsewhere to be measured instead of ours, as a caller of its admin API sees it, and
	// TokenFile holds the bearer token that it wants, if it wants one.
	Controller, TokenFile string
	// Insecure lets that token go in the clear to another machine, as in transport.Config.
	Insecure bool

	Redis string // URL of a server, for redis
	AMQP  string // URL of a broker, for rabbitmq

	Rounds int           // in which contenders take turns; default: 10
	Turn   time.Duration // of one contender in one round; default: 200 ms
	VMs    int           // of load and throughput; default: 100
	Window int           // commands under way to each of them; default: 64
	Rate   int           // commands a second, for load and reconnect; default: 1000
	Fleet  int           // VMs that are idle, dial at once, or come back; default: 2000

	// Calm is how long nothing happens before a VM counts as idle; default: 20 s, for signs of life come every 15.
	Calm time.Duration

	Audience int           // VMs that a broadcast goes to, of which one in ten is linked; default: 10,000
	Outage   time.Duration // from the controller's kill to its start, for reconnect; default: none

	Known []int // VMs that a controller knows, for growth; the first are linked; default: 10, 100, 1000, 10,000
	Past  int   // settled commands in the ledger, for growth; default: 1,000,000

	// Delay is added to all that passes between an agent and its controller or broker, each way, and up to
	// Jitter more.
	Delay, Jitter time.Duration

	// Loss is the share of packets that are lost on that way, each of which holds up what is behind it.
	Loss float64

	// Seed is that of jitter and loss. Default: a random one, which the report tells.
	Seed uint64

	// OneCPU keeps this process and the agents' to one CPU together.
	OneCPU bool

	// Profile is a folder for CPU profiles: controller.pprof, and one for the latest agents of each kind.
	Profile string

	// Each is called after each of Steps, by one goroutine.
	Each func()

	fail context.CancelCauseFunc // of the run
}

// measures are in the order in which they are taken: idle VMs while little has happened.
var measures = []struct {
	name  string
	steps func(o *Options) int
	take  func(o *Options, ctx context.Context, r *Report) error
}{
	{"idle", func(o *Options) int { return len(o.ours()) }, func(o *Options, ctx context.Context, r *Report) (err error) {
		r.Idle, err = o.idles(ctx)
		return err
	}},
	{"roundtrip", func(o *Options) int { return o.Rounds * len(o.lone()) }, func(o *Options, ctx context.Context, r *Report) (err error) {
		r.RoundTrip, r.Commit, err = o.roundTrips(ctx)
		return err
	}},
	{"load", func(o *Options) int { return o.floodRounds() * len(o.contenders(floods)) }, func(o *Options, ctx context.Context, r *Report) (err error) {
		r.Load, err = o.loads(ctx)
		return err
	}},
	{"throughput", func(o *Options) int { return o.floodRounds() * len(o.contenders(floods)) }, func(o *Options, ctx context.Context, r *Report) (err error) {
		r.Throughput, err = o.throughputs(ctx, o.contenders(floods), o.VMs, o.Window)
		return err
	}},
	{"durable", func(o *Options) int { return o.floodRounds() * len(o.durables()) }, func(o *Options, ctx context.Context, r *Report) (err error) {
		r.Durable, err = o.throughputs(ctx, o.durables(), durableVMs, durableWindow)
		return err
	}},
	{"storm", func(o *Options) int { return len(o.contenders(storms)) }, func(o *Options, ctx context.Context, r *Report) (err error) {
		r.Storm, err = o.storms(ctx)
		return err
	}},
	{"reconnect", func(o *Options) int { return len(o.killable()) }, func(o *Options, ctx context.Context, r *Report) (err error) {
		r.Reconnect, err = o.reconnects(ctx)
		return err
	}},
	{"broadcast", func(o *Options) int { return o.floodRounds() * len(o.onDisk()) }, func(o *Options, ctx context.Context, r *Report) (err error) {
		r.Broadcast, err = o.broadcasts(ctx)
		return err
	}},
	{"growth", func(o *Options) int { return o.Rounds * len(o.stages()) }, func(o *Options, ctx context.Context, r *Report) (err error) {
		r.Growth, err = o.growth(ctx)
		return err
	}},
}

// Measures are what can be measured.
func Measures() []string {
	names := make([]string, 0, len(measures))
	for _, m := range measures {
		names = append(names, m.name)
	}
	return names
}

// Transports are those of ours.
func Transports() []string {
	names := make([]string, 0, len(registry))
	for _, w := range registry {
		names = append(names, w.Name)
	}
	return names
}

// Report is the results of a run, each kind in the order of its contenders. Times are in nanoseconds.
type Report struct {
	Time       time.Time     `json:"time"`
	Go         string        `json:"go"`
	CPUs       int           `json:"cpus"`
	Controller string        `json:"controller,omitempty"` // the one elsewhere
	OneCPU     bool          `json:"one_cpu,omitempty"`    // both processes on the same
	Delay      time.Duration `json:"delay,omitempty"`
	Jitter     time.Duration `json:"jitter,omitempty"`
	Loss       float64       `json:"loss,omitempty"`
	Seed       uint64        `json:"seed"`
	RoundTrip  []RoundTrip   `json:"round_trip,omitempty"`
	Commit     *Latency      `json:"commit,omitempty"` // a bare commit of bbolt
	Load       []Load        `json:"load,omitempty"`
	Throughput []Throughput  `json:"throughput,omitempty"`
	Durable    []Throughput  `json:"durable,omitempty"` // to few VMs, on disk
	Idle       []Idle        `json:"idle,omitempty"`
	Storm      []Storm       `json:"storm,omitempty"`
	Reconnect  []Reconnect   `json:"reconnect,omitempty"`
	Broadcast  []Broadcast   `json:"broadcast,omitempty"`
	Growth     []Growth      `json:"growth,omitempty"`
	Goals      []Goal        `json:"goals,omitempty"` // of Judge, for who wants them
}

// Contender is what was measured.
type Contender struct {
	Transport string `json:"transport"`
	Ledger    string `json:"ledger,omitempty"` // empty: the bare loop
}

// Name is that of a row.
func (c Contender) Name() string {
	return c.Transport + ", " + c.kind()
}

// Check fills in the defaults, and says what cannot be measured.
func (o *Options) Check() error {
	if len(o.Program) == 0 {
		return errors.New("bench: there is no program for the agents")
	}
	stores := []string{"memory", "bolt"}
	if o.Controller != "" {
		stores = []string{remote}
		if err := o.checkRemote(); err != nil {
			return err
		}
	}
	if len(o.Measures) == 0 {
		o.Measures = Measures()
	}
	if len(o.Transports) == 0 {
		o.Transports = []string{rawTCP, "ws", "sse", "longpoll", "grpc", "nats"}
		if o.Redis != "" {
			o.Transports = append(o.Transports, "redis")
		}
		if o.AMQP != "" {
			o.Transports = append(o.Transports, "rabbitmq")
		}
	}
	if len(o.Ledgers) == 0 {
		o.Ledgers = stores
	}
	for _, of := range []struct {
		what          string
		chosen, among []string
	}{{"measure", o.Measures, Measures()}, {"transport", o.Transports, append(Transports(), rawTCP)}, {"ledger", o.Ledgers, stores}} {
		for _, s := range of.chosen {
			if !slices.Contains(of.among, s) {
				return fmt.Errorf("bench: there is no %s %q: there are %v", of.what, s, of.among)
			}
		}
	}
	if slices.Contains(o.Transports, "redis") && o.Redis == "" || slices.Contains(o.Transports, "rabbitmq") && o.AMQP == "" {
		return errors.New("bench: redis and rabbitmq need the URL of a server")
	}
	for _, d := range []struct{ value, is *int }{{&o.Rounds, new(10)}, {&o.VMs, new(100)}, {&o.Window, new(64)}, {&o.Rate, new(1000)}, {&o.Fleet, new(2000)}, {&o.Audience, new(10_000)}, {&o.Past, new(1_000_000)}} {
		if *d.value == 0 {
			*d.value = *d.is
		}
		if *d.value < 1 {
			return errors.New("bench: numbers of rounds, VMs and commands are at least 1")
		}
	}
	if o.Controller != "" {
		o.VMs = min(o.VMs, atOnce)
		o.Window = min(o.Window, atOnce/o.VMs)
	}
	if len(o.Known) == 0 {
		o.Known = []int{10, 100, 1000, 10_000}
	}
	if o.Known[0] < 1 || !slices.IsSorted(o.Known) {
		return errors.New("bench: the numbers of VMs that are known are at least 1, the fewest first")
	}
	if o.Window > maxWindow {
		return fmt.Errorf("bench: a window is at most %d", maxWindow)
	}
	if o.Turn == 0 {
		o.Turn = 200 * time.Millisecond
	}
	if o.Turn < 0 {
		return errors.New("bench: a turn takes some time")
	}
	if o.Calm == 0 {
		o.Calm = 20 * time.Second
	}
	if o.Calm < 0 || o.Delay < 0 || o.Jitter < 0 || o.Outage < 0 {
		return errors.New("bench: a calm, a delay or an outage is not negative")
	}
	if !(o.Loss >= 0 && o.Loss < 1) {
		return errors.New("bench: a loss is from 0 up to 1")
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	if o.Each == nil {
		o.Each = func() {}
	}
	return nil
}

// Run measures, and returns what it has so far where ctx ends or something fails.
func Run(ctx context.Context, o Options) (Report, error) {
	r := Report{Time: time.Now(), Go: runtime.Version(), Delay: o.Delay, Jitter: o.Jitter, OneCPU: o.OneCPU}
	if err := o.Check(); err != nil {
		return r, err
	}
	if o.OneCPU {
		restore, err := onOneCPU()
		if err != nil {
			return r, err
		}
		defer restore()
	}
	r.Loss, r.Seed, r.Controller = o.Loss, o.Seed, redacted(o.Controller)
	r.CPUs = runtime.GOMAXPROCS(0)
	ctx, o.fail = context.WithCancelCause(ctx)
	defer o.fail(nil)
	if o.Profile != "" {
		stop, err := profile(filepath.Join(o.Profile, "controller.pprof"))
		if err != nil {
			return r, err
		}
		defer stop()
	}
	for _, m := range measures {
		if !slices.Contains(o.Measures, m.name) {
			continue
		}
		err := m.take(&o, ctx, &r)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return r, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return r, nil
}

// contenders are all of a measure, the bare loop before ours.
func (o *Options) contenders(bare func(transport string) bool) []Contender {
	var cs []Contender
	for _, t := range o.Transports {
		if bare(t) && o.Controller == "" {
			cs = append(cs, Contender{Transport: t})
		}
		for _, l := range o.Ledgers {
			if t != rawTCP {
				cs = append(cs, Contender{t, l})
			}
		}
	}
	return cs
}

// ours are the transports that are more than a bare loop.
func (o *Options) ours() []string {
	return slices.DeleteFunc(slices.Clone(o.Transports), func(t string) bool { return t == rawTCP })
}

// killable are ours with the ledger on disk, where that is wanted.
func (o *Options) killable() []Contender {
	var cs []Contender
	for _, t := range o.ours() {
		if slices.Contains(o.Ledgers, "bolt") {
			cs = append(cs, Contender{t, "bolt"})
		}
	}
	return cs
}

// onDisk are those of them that take many VMs at once.
func (o *Options) onDisk() []Contender {
	return slices.DeleteFunc(o.killable(), func(c Contender) bool { return fewAtOnce(c.Transport) })
}

func (o *Options) open(ctx context.Context, c Contender, n int) (*loop, error) {
	if c.Ledger == "" {
		return o.openBare(ctx, c.Transport, n)
	}
	return o.openOurs(ctx, c, n)
}

// Steps is how many there will be, after Check.
func (o *Options) Steps() int {
	n := 0
	for _, m := range measures {
		if slices.Contains(o.Measures, m.name) {
			n += m.steps(o)
		}
	}
	return n
}

func always(string) bool { return true }
