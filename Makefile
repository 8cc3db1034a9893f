# Every target may be run on a fresh clone: each calls scripts/setup.sh, which installs what is missing or says
# what to install.
SHELL := /usr/bin/env bash
.DEFAULT_GOAL := help
.PHONY: help demo kafka-demo test soak bench profile fuzz release fmt lint deny

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Run the example pipeline on real flight records: file -> Wasm stages -> Parquet and the terminal
	@scripts/demo.sh

kafka-demo: ## The same through a real Apache Kafka broker, started for it and stopped after it
	@scripts/kafka-demo.sh

test: ## Everything: set-up, build, guests, unit, golden, hostile and real-Kafka tests, docs, lint
	@scripts/test.sh

soak: ## The crash proof: workers on a real broker killed KILLS (200) times; SEED=n replays, FAULTS=1 breaks the broker, too, SOAK=--brokers=3 uses three
	@scripts/soak.sh --kills $(or $(KILLS),200) $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults) $(SOAK)

bench: ## Micro-benchmarks and whole-pipeline benchmarks, and the numbers to reach as one table (BENCH="--rounds 2")
	@scripts/bench.sh $(BENCH)

profile: ## A flame graph of the worker at its benchmark, in target/profile (perf and inferno)
	@scripts/profile.sh

release: ## A tarball of the program and its stages for other machines, in target/packages (half an hour of building)
	@scripts/release.sh

fuzz: ## Fuzz everything that comes from outside, FUZZ_RUNS (10,000,000) executions a target
	@scripts/fuzz.sh long

fmt: ## Format the sources of both workspaces
	@cargo fmt --all
	@cargo fmt --all --manifest-path stages/Cargo.toml

lint: ## Formatting and clippy, warnings are errors
	@scripts/lint.sh

deny: ## Licences, sources and duplicate versions of the dependencies (needs cargo-deny)
	@cargo deny --locked check bans licenses sources
