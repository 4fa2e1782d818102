# `make help` shows what there is; .ci/run runs the same commands.
GOLANGCI_LINT = go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOTESTSUM = go run gotest.tools/gotestsum@v1.13.0 --format pkgname
FUZZTIME ?= 30s
OUT ?= .

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: test
test: ## All tests; at the end, which were skipped, and why
	$(GOTESTSUM) -- ./...

.PHONY: test-race
test-race: ## All tests with the race detector; at the end, which were skipped, and why
	$(GOTESTSUM) -- -race -p 3 -timeout 15m ./...

.PHONY: soak
soak: ## What tests count (rounds, VMs, bytes, plans) in full, which the others do a tenth of
	MIGLINK_SOAK=1 go test -race -p 1 -count 1 -timeout 60m \
	  -run 'TestEphemeralVMs|TestRandomOutput|TestProgramsOfAnAgentThatDies|TestDiskFillsUnderLoad' ./controller ./internal/programs ./cmd/miglink
	cd internal/simulation && go test -count 1 -timeout 60m -run 'TestSimulation$$' . -simulation.runs 20000

.PHONY: lint
lint: ## Lint and formatting, see .golangci.yml
	$(GOLANGCI_LINT) run ./...

.PHONY: format
format: ## Format all Go files
	$(GOLANGCI_LINT) fmt ./...

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME each
	@for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "== $$pkg $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; \
	done

.PHONY: bench
bench: ## Every transport beside a bare loop, as tables, judged by the goals
	go run ./cmd/miglink bench --goals

.PHONY: bench-cpu
bench-cpu: ## What code costs, without wake-ups: both processes on one CPU
	go run ./cmd/miglink bench --goals --one-cpu --measures roundtrip,throughput

.PHONY: bench-peers
bench-peers: ## What else could carry commands, beside ours, as tables
	cd bench/peers && go run .

.PHONY: demo
demo: ## A controller and agents as processes, every link cut once
	go run ./cmd/miglink demo

.PHONY: generate
generate: ## Go code of the .proto files; needs protoc (apt-get install protobuf-compiler)
	@tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && \
	go build -o "$$tools" google.golang.org/protobuf/cmd/protoc-gen-go connectrpc.com/connect/cmd/protoc-gen-connect-go && \
	PATH="$$tools:$$PATH" protoc -I transport/grpc/proto \
	  --go_out=$(OUT) --go_opt=module=github.com/miglink/miglink \
	  --connect-go_out=$(OUT) --connect-go_opt=module=github.com/miglink/miglink \
	  miglink/v1/command_link.proto

.PHONY: licenses
licenses: ## LICENSES.md, of what is linked
	go run ./internal/licenses > LICENSES.md.new && mv LICENSES.md.new LICENSES.md

.PHONY: vulnerabilities
vulnerabilities: ## Known vulnerabilities in what is called; needs https://vuln.go.dev
	go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./...

.PHONY: conformance
conformance: ## Every promise on every transport, as a table
	go run ./cmd/miglink conformance

.PHONY: check
check: ## Everything that must hold before a change lands
	.ci/run
