# One line a recipe; what needs an `if` is a script in .ci/. Stamps in .cache/ make second runs quick.

PYTHON ?= python3
VENV := .venv/bin
DEPS := .cache/dependencies
SEEDS ?= 5000
FROM ?= 1
MINUTES ?= 20
CORE := .cache/core-release
SHIPPED := .cache/core-shipped
BENCH := .cache/bench-dependencies
RUST := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml -o -name '*.json')

.DEFAULT_GOAL := help
.PHONY: help demo test install build release format lint typecheck test-rust test-python e2e lock all clean loom models simulate campaign manifests image-test e2e-cluster bench bench-quick bench-rust bench-replay stress soak gate fuzz

help: ## Show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

demo: install ## See it work: a bundled server, a policy, a real client
	@$(VENV)/interlock demo

test: test-rust test-python ## Run every test

install: $(CORE) ## Make .venv with .venv/bin/interlock

build: $(DEPS) ## Build the extension without optimisation
	@rm -f $(CORE) $(SHIPPED) && PIP_QUIET=1 PIP_NO_DEPS=1 VIRTUAL_ENV=.venv $(VENV)/maturin develop --locked --quiet

release: $(SHIPPED) ## Build the extension as it is shipped: twice, and in between it learns (needs rustup's llvm-tools)

format: $(DEPS) ## Format everything
	@$(VENV)/ruff check --fix --quiet python rust tests bench k8s image && $(VENV)/ruff format --quiet python rust tests bench k8s image && cargo fmt

lint: $(DEPS) ## Check formats, lints and who imports whom
	@.ci/lint

typecheck: $(CORE) ## Check types, the extension's stub included
	@$(VENV)/mypy && $(VENV)/python -m mypy.stubtest gateway._core

test-rust: simulate ## Run the tests of the core
	@.ci/prerequisites && cargo test --workspace --exclude gateway-sim --locked

simulate: ## Run the core through SEEDS histories with virtual workers, clocks and faults, from seed FROM on
	@cargo test --profile sim --quiet --package gateway-sim --locked
	@cargo run --profile sim --quiet --package gateway-sim --locked -- --seeds $(SEEDS) --from $(FROM)

campaign: $(CORE) ## Run the long forms of what proves the limits, for MINUTES (default 20)
	@$(VENV)/python tests/campaign/run.py --minutes $(MINUTES)

loom: ## Model-check the atomics of the limit table
	@RUSTFLAGS="--cfg loom" CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=target/loom cargo test --locked --package gateway-core --lib loom

models: ## Check the limit table's Promela models and that their seeded mistakes are found (needs spin)
	@tests/models/run.sh

test-python: $(CORE) ## Run the tests of the gateway, as many at a time as there are processors
	@$(VENV)/python -m pytest --numprocesses auto --dist worksteal

e2e: $(CORE) ## Run only the tests with real processes on real sockets
	@$(VENV)/python -m pytest -m e2e

manifests: $(DEPS) ## Make what follows from the Helm chart: kustomize's manifests, its table of values, golden renders
	@$(VENV)/python k8s/generate.py

image-test: $(CORE) ## Build the image, play a pod of it, test both (needs podman, and root or PYTHON_IMAGE)
	@.ci/image

e2e-cluster: $(CORE) ## Test on the cluster that KUBECONFIG names (with INTERLOCK_IMAGE, if it can pull one)
	@$(VENV)/python -m pytest tests/cluster -v

bench: $(BENCH) ## Measure everything and write the report (needs wrk, nginx, haproxy, go; half an hour)
	@$(VENV)/python -m bench

bench-quick: $(BENCH) ## Measure the main things and print them (needs wrk, nginx, haproxy, go)
	@$(VENV)/python -m bench --quick

bench-rust: ## Measure the parts of the core by themselves
	@cargo bench --locked --package gateway-core

bench-replay: $(SHIPPED) ## Replay a log of a million lines, and say what it took
	@$(VENV)/python -m bench.replay

stress: $(BENCH) ## Measure what becomes of calls under pressure (needs wrk, nginx; six minutes)
	@$(VENV)/python -m bench.stress

soak: $(CORE) ## Keep it under a mixed load for SECONDS (600) while workers and servers come and go, and judge it
	@PYTHONPATH=tests $(VENV)/python tests/e2e/soak.py --store --seconds $(or $(SECONDS),600)

gate: $(DEPS) ## Count the instructions of a decision and of a request (needs valgrind)
	@$(VENV)/python -m bench.gate

fuzz: ## Fuzz every reader of bytes, each for SECONDS (30; needs a C++ compiler)
	@rust/fuzz/run.sh $(or $(SECONDS),30)

lock: $(DEPS) ## Resolve the Python dependencies anew
	@.ci/lock

all: ## Run what continuous integration runs
	@.ci/run

clean: ## Remove what was built
	@rm -rf .venv .cache target dist python/gateway/_core*.so

$(DEPS): python/locks/dev.txt
	@.ci/install $(PYTHON) && mkdir -p .cache && touch $@

$(BENCH): $(SHIPPED) python/locks/bench.txt
	@$(VENV)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement python/locks/bench.txt && touch $@

$(CORE): $(DEPS) $(RUST) pyproject.toml
	@PIP_QUIET=1 PIP_NO_DEPS=1 VIRTUAL_ENV=.venv $(VENV)/maturin develop --release --locked --quiet && touch $@

$(SHIPPED): $(DEPS) $(RUST) pyproject.toml rust/train.py
	@PIP_QUIET=1 PIP_NO_DEPS=1 VIRTUAL_ENV=.venv $(VENV)/maturin develop --release --pgo --locked --quiet && touch $(CORE) $@
