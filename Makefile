# The front door. `make` alone lists the targets; everything else is in scripts/.

.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# Where tools and services of this project keep what they may lose.
LEGWORK_CACHE ?= $(HOME)/.cache/legwork
export LEGWORK_CACHE

CARGO_DENY := $(LEGWORK_CACHE)/tools/bin/cargo-deny

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install what this machine lacks for build, check, test and demo
	@scripts/setup check
	@scripts/setup test

.PHONY: build
build: ## compile the release program `legwork`
	@scripts/setup build
	cargo build --locked --release --workspace --bins

.PHONY: demo
demo: build ## show the whole story on this machine: install, build, run, stop
	@scripts/setup demo
	@scripts/with-services --need docker,images scripts/demo

.PHONY: test
test: ## run every test, with real Docker, PostgreSQL and registry
	@scripts/setup test
	@scripts/with-services --need docker,images,postgres,registry,runtime cargo test --locked --workspace --no-fail-fast

.PHONY: check
check: ## format, lints, documentation, and the rules for dependencies
	@scripts/setup check
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	"$(CARGO_DENY)" --log-level error --locked check bans licenses sources

.PHONY: bench
bench: ## measure, and write docs/benchmarks.md; ONLY=name runs a part
	@scripts/setup test
	@# All programs in one build: with --package each would have its dependencies compiled with features of its own.
	cargo build --locked --release --workspace --bins
	@scripts/with-services --need docker,images,postgres \
		"$$(find "$${CARGO_TARGET_DIR:-target}" -maxdepth 3 -type f -path '*release/bench')" $(ONLY)

.PHONY: images
images: ## build the images of runner, server and the plugins in plugins/
	@scripts/setup demo
	@scripts/with-services --need docker,images scripts/images runtime

.PHONY: fmt
fmt: ## format all code
	cargo fmt --all

.PHONY: clean-services
clean-services: ## remove what a killed test run has left: services, containers, volumes
	@scripts/clean-services
