# `make help` shows what there is; .ci/run runs the same commands.
GOLANGCI_LINT = go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME ?= 30s

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: test
test: ## All tests, as the README has it
	go test ./...

.PHONY: test-race
test-race: ## All tests with the race detector
	go test -race -timeout 15m ./...

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
bench: ## The benchmarks, six times each, for benchstat
	go test -run '^$$' -bench . -count 6 ./...

.PHONY: golden
golden: ## Rewrite the golden transcripts; review the diff
	go test ./transport/... -update

.PHONY: demo
demo: ## A controller and agents as processes, every link cut once
	go run ./cmd/miglink demo

.PHONY: check
check: ## Everything that must hold before a change lands
	.ci/run
