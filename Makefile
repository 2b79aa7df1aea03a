# Chatter's commands. `make help` lists them; `make demo` and `make test` are all that a fresh clone needs.

PYTHON  ?= python3
GO      ?= go
UV      ?= uv
ARGS    ?=
MINUTES ?= 10

VENV    := .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check --quiet
GRPCURL := v1.9.4

# Stamps say what is installed; a file that is newer than its stamp makes the step run again.
RUNTIME := $(VENV)/.stamp-runtime
PROJECT := $(VENV)/.stamp-project
DEV     := $(VENV)/.stamp-dev
BENCH   := $(VENV)/.stamp-bench
GEN     := chatter_grpc/_gen/__init__.py

# Directories are among these, so that a proto that was removed or renamed is noticed too.
PROTOS  := $(shell find protos)
CLIENT  := clients/python
CODE    := $(wildcard chatter_grpc $(CLIENT) tests benchmarks tools hatch_build.py)
COMPILE  = PATH="$(CURDIR)/$(BIN):$$PATH" $(UV) pip compile --quiet --python-version 3.11 --generate-hashes \
           --no-emit-index-url --no-header --no-annotate $(ARGS) pyproject.toml

RUNS    ?= 1000
SEED    ?= 1
STORAGE ?= both
GRAPH   ?= plain
CHAOS   := chaos-zombies chaos-starts chaos-cancels chaos-slow-readers chaos-redis chaos-rolling

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help demo serve test image-test check soak chaos $(CHAOS) bench bench-storage coverage generate derive format lock clean grpcurl goclient

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-18s %s\n", $$1, $$2}'

demo: $(PROJECT) $(GEN) ## Start a server on embedded defaults, ask it a question and watch the answer arrive
	$(BIN)/chatter-grpc demo $(ARGS)

serve: $(PROJECT) $(GEN) ## Serve with the settings of the environment (ARGS="--help" lists the options)
	$(BIN)/chatter-grpc serve $(ARGS)

test: $(DEV) $(PROJECT) $(GEN) grpcurl goclient ## Run the tests (ARGS="-x tests/unit" narrows them down)
	$(BIN)/python -m pytest $(ARGS)

image-test: $(DEV) $(PROJECT) $(GEN) ## Run every step of the Dockerfile in a directory, without Docker (minutes)
	WHOLE_IMAGE=1 $(BIN)/python -m pytest tests/acceptance/test_image.py $(ARGS)

check: $(DEV) $(PROJECT) $(GEN) ## Lint, types, layers, dependencies, contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(CODE)
	$(BIN)/lint-imports
	$(BIN)/deptry chatter_grpc
	$(BIN)/deptry --config $(CLIENT)/pyproject.toml $(CLIENT)/chatter_client
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code

soak: $(DEV) $(PROJECT) $(GEN) ## Let all that callers do loose on a server for a while (MINUTES=60)
	$(BIN)/python -m tests.chaos soak --minutes $(MINUTES) $(ARGS)

chaos: $(DEV) $(PROJECT) $(GEN) ## Let servers die under runs (RUNS=1000 SEED=1 STORAGE=both GRAPH=plain)
	$(BIN)/python -m tests.chaos runs --runs $(RUNS) --seed $(SEED) --storage $(STORAGE) --graph $(GRAPH) $(ARGS)

chaos-zombies: ## Hold servers up past their leases under 200 runs
chaos-starts: ## Send 2,000 messages while a proxy cuts the calls
chaos-cancels: ## Cancel 500 runs at any moment, some while their server dies
chaos-slow-readers: ## Measure readers beside 200 that do not read (some 12 minutes)
chaos-redis: ## Flush and stop Redis in the middle of runs
chaos-rolling: ## Restart two servers in turn under 100 streams

$(CHAOS): $(DEV) $(PROJECT) $(GEN)
	$(BIN)/python -m tests.chaos $(@:chaos-%=%) $(ARGS)

bench: $(BENCH) $(PROJECT) $(GEN) ## Run the benchmarks
	$(BIN)/python -m benchmarks $(ARGS)

bench-storage: $(BENCH) $(PROJECT) $(GEN) ## Measure lists and searches among a million messages
	$(BIN)/python -m benchmarks.storage $(ARGS)

coverage: $(DEV) $(PROJECT) $(GEN) grpcurl goclient ## Run the tests and require 90 % branch coverage of core and rpc
	$(BIN)/python -m pytest --cov --cov-report= $(ARGS)
	$(BIN)/coverage report --include='chatter_grpc/core/*,chatter_grpc/rpc/*' --fail-under=90

generate: $(PROJECT) ## Generate the Python of the server and of the client from protos/
	$(BIN)/python hatch_build.py
	@touch $(GEN)

derive: $(PROJECT) $(GEN) ## Derive the service config and the references of settings, contract and metrics anew
	$(BIN)/chatter-grpc policy --service-config > clients/service_config.json
	$(BIN)/chatter-grpc config --markdown > docs/configuration.md
	$(BIN)/python -m tools.api_reference > docs/api.md
	$(BIN)/python -m tools.metrics_table
	$(BIN)/python -m tools.fold_table

format: $(DEV) ## Bring code and protos into their form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format --write

# The widest set comes first: what it settles on holds for the smaller ones.
lock: $(BIN)/python ## Lock the dependencies of pyproject.toml (ARGS=--upgrade takes the newest)
	@command -v $(UV) >/dev/null || $(PIP) install uv
	$(COMPILE) --all-extras --group build --group dev --group bench -o requirements/bench.txt
	$(COMPILE) --all-extras --group build --group dev -c requirements/bench.txt -o requirements/dev.txt
	$(COMPILE) --group build -c requirements/dev.txt -o requirements/runtime.txt

clean: ## Remove everything that these commands made
	rm -rf $(VENV) chatter_grpc/_gen $(CLIENT)/chatter_client/_gen clients/go/chatter dist build htmlcov .coverage .coverage.*
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Chatter needs Python 3.11 or newer; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one with: make PYTHON=/path/to/python3 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments. On Debian: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements/runtime.txt | $(BIN)/python
	@echo "Installing the locked dependencies into $(VENV) (about a minute the first time)"
	$(PIP) install --require-hashes --no-deps -r $<
	@touch $@

$(DEV): requirements/dev.txt $(RUNTIME)
	@echo "Installing the locked development tools into $(VENV)"
	$(PIP) install --require-hashes --no-deps -r $<
	@touch $@

$(BENCH): requirements/bench.txt $(DEV)
	$(PIP) install --require-hashes --no-deps -r $<
	@touch $@

$(PROJECT): pyproject.toml hatch_build.py $(CLIENT)/pyproject.toml $(CLIENT)/build_hook.py $(RUNTIME)
	$(PIP) install --no-build-isolation --no-deps --editable . --editable $(CLIENT)
	@touch $@

$(GEN): $(PROTOS) hatch_build.py $(CLIENT)/build_hook.py clients/service_config.json $(PROJECT)
	$(BIN)/python hatch_build.py
	@touch $@

# The cookbook's tests drive the server with grpcurl where Go can build it, and with `buf curl` where it cannot.
ifneq ($(shell command -v $(GO) 2>/dev/null),)
grpcurl: $(VENV)/.stamp-grpcurl-$(GRPCURL)

$(VENV)/.stamp-grpcurl-$(GRPCURL): | $(BIN)/python
	@echo "Building grpcurl $(GRPCURL) with $$($(GO) version)"
	@GOBIN="$(CURDIR)/$(BIN)" $(GO) install github.com/fullstorydev/grpcurl/cmd/grpcurl@$(GRPCURL) || { \
	  echo "grpcurl could not be built (above). Go on without it, using buf curl: make GO= ..."; exit 1; }
	@touch $@

# The client in Go, with the stubs that it needs: nothing that is generated is committed.
GOMODULE  := github.com/chatter-grpc/chatter/clients/go
GOPLUGINS := google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc

goclient: $(BIN)/chatter-go

$(BIN)/chatter-go: $(PROTOS) $(wildcard clients/go/*.go clients/go/go.*) $(RUNTIME)
	@echo "Building the client in Go with $$($(GO) version)"
	@cd clients/go && $(GO) build -o "$(CURDIR)/$(BIN)/" $(GOPLUGINS) || { \
	  echo "Its tools could not be built (above). Go on without Go: make GO= ..."; exit 1; }
	@rm -rf clients/go/chatter
	@$(BIN)/python -m grpc_tools.protoc -Iprotos $(foreach name,$(notdir $(GOPLUGINS)),--plugin=$(BIN)/$(name)) \
	  --go_out=clients/go --go_opt=module=$(GOMODULE) --go-grpc_out=clients/go --go-grpc_opt=module=$(GOMODULE) \
	  $(filter %.proto,$(PROTOS))
	@cd clients/go && $(GO) test -c -o "$(CURDIR)/$(BIN)/chatter-go-test" . && $(GO) build -o "$(CURDIR)/$@" .
else
goclient:
	@echo "Go is not on PATH: the client in Go is not tested"

grpcurl:
	@echo "Go is not on PATH: the tests use buf curl instead of grpcurl"
endif
