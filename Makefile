# What a checkout can do. Tools and caches of it stay below .tools/ and target/.
#
#   make run      a demo gateway on the simulated provider; prints how to call it (RUN='--port 8080' passes flags on)
#   make test     everything that proves it
#   make lint     formatting, clippy, licences and sources of the dependencies
#   make fuzz     each fuzz target for SECONDS (TARGETS='chunked sse' picks); needs the nightly compiler
#   make bench    end-to-end comparison with nginx and HAProxy: benches/compare/README.md (BENCH='…' passes flags on)
.PHONY: run test lint advisories fuzz fuzz-needs bench bench-peers

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

DENY_VERSION := 0.20.2
FUZZ_VERSION := 0.13.2
TOOLS := $(CURDIR)/.tools

export PATH := $(PATH):$(HOME)/.cargo/bin

# rustup's proxies look for their toolchains below HOME. Where HOME is an empty one and the proxies stand in another,
# the toolchains beside them are used.
ifeq ($(RUSTUP_HOME)$(wildcard $(HOME)/.rustup),)
BESIDE := $(abspath $(dir $(shell PATH="$(PATH)" command -v cargo))../../.rustup)
ifneq ($(wildcard $(BESIDE)/toolchains),)
export RUSTUP_HOME := $(BESIDE)
endif
endif

run:
	cargo build --locked --profile quick
	target/quick/routerly start --demo $(RUN)

# The bodies of the fuzz targets run in here over the corpus, as unit tests.
test:
	cargo test --locked
	cargo test --locked --manifest-path benches/compare/Cargo.toml
	if [ -x tests/sdk/run.sh ]; then cargo build --locked && tests/sdk/run.sh; fi

lint: $(TOOLS)/cargo-deny-$(DENY_VERSION) advisories
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo fmt --check --manifest-path benches/compare/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --manifest-path benches/compare/Cargo.toml --all-targets -- -D warnings
	cargo metadata --locked --manifest-path fuzz/Cargo.toml --format-version 1 >/dev/null
	$(TOOLS)/bin/cargo-deny --locked check licenses bans sources

# The advisories are a repository of their own, which is not reachable from everywhere.
ADVISORIES := https://github.com/RustSec/advisory-db
advisories: $(TOOLS)/cargo-deny-$(DENY_VERSION)
	@if GIT_TERMINAL_PROMPT=0 timeout 20 git ls-remote --quiet $(ADVISORIES) HEAD >/dev/null 2>&1; then \
	  $(TOOLS)/bin/cargo-deny --locked check advisories; \
	else \
	  echo "advisories: NOT CHECKED, $(ADVISORIES) cannot be reached from here"; \
	fi

# Unoptimised: the tools run for a second, building them takes minutes.
INSTALL := CARGO_PROFILE_DEV_DEBUG=false CARGO_TARGET_DIR=$(TOOLS)/target cargo install --locked --debug --root $(TOOLS)
$(TOOLS)/cargo-deny-$(DENY_VERSION):
	$(INSTALL) cargo-deny@$(DENY_VERSION)
	rm -rf $(TOOLS)/target
	touch $@

$(TOOLS)/cargo-fuzz-$(FUZZ_VERSION):
	$(INSTALL) cargo-fuzz@$(FUZZ_VERSION)
	rm -rf $(TOOLS)/target
	touch $@

SECONDS_EACH := $(or $(SECONDS),60)
TARGETS ?= request_head response_head chunked sse usage_scan request_facts config gemini_codec messages responses chat_codec translate

# What is found new goes to fuzz/target/; a crash goes to fuzz/artifacts/ and from there, once it is fixed, into the
# corpus under a telling name.
fuzz: fuzz-needs $(TOOLS)/cargo-fuzz-$(FUZZ_VERSION)
	PATH="$(TOOLS)/bin:$$PATH" cargo +nightly fuzz build
	for target in $(TARGETS); do \
	  mkdir -p fuzz/target/corpus/$$target; \
	  PATH="$(TOOLS)/bin:$$PATH" cargo +nightly fuzz run $$target fuzz/target/corpus/$$target fuzz/corpus/$$target \
	    -- -max_total_time=$(SECONDS_EACH) -timeout=20; \
	done

fuzz-needs:
	@cargo +nightly --version >/dev/null 2>&1 || \
	  { echo "make fuzz needs the nightly compiler: rustup toolchain install nightly" >&2; exit 1; }
	@command -v c++ >/dev/null || { echo "make fuzz needs a C++ compiler, for libFuzzer: c++" >&2; exit 1; }

bench: bench-peers
	cargo build --release --bin routerly
	cargo run --release --manifest-path benches/compare/Cargo.toml -- run $(BENCH)

# The peers are Debian's packages. RUNLEVEL=1 keeps their services from being started by the installation.
bench-peers:
	@missing=""; \
	for peer in nginx haproxy; do \
	  PATH="$$PATH:/usr/sbin:/usr/local/sbin" command -v $$peer >/dev/null || missing="$$missing $$peer"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" != 0 ]; then \
	  echo "bench needs$$missing: apt-get install$$missing" >&2; exit 1; \
	fi; \
	apt-get update -q && \
	RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing
