# The commands of this repository. `make help` lists them.

CARGO ?= cargo
# What the tests need beyond a Rust toolchain, as Debian names it.
DEBIAN_PACKAGES := git etcd-server etcd-client openssl python3-venv
# And of Python, a client of etcd.
PYTHON_CLIENT := aetcd==1.0.0
# Of the packages; each of them, and each combination, must build without a warning.
FEATURES := tokio async-std flume
ETCD_FEATURES := server client

.DEFAULT_GOAL := help

.PHONY: help
help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: quickstart
quickstart: ## the main job: a small store on redb, watched in every way
	$(CARGO) run --release --example quickstart

# Ends a test that hangs, by its name.
LIMITED := --config 'target."cfg(all())".runner = "tests/limit.sh"'

.PHONY: test
test: packages python rust-client models ## every test; installs the Debian packages they need if they are missing
	$(CARGO) test $(LIMITED) --workspace --all-features --no-fail-fast

# Does nothing where everything is there. Elsewhere it says what it installs.
.PHONY: packages
packages:
	@missing=; \
	for package in $(DEBIAN_PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' \
	    || missing="$$missing $$package"; \
	done; \
	test -z "$$missing" && exit 0; \
	command -v apt-get >/dev/null \
	  || { echo "these tests need$$missing (Debian's names): please install them"; exit 1; }; \
	echo "installing Debian packages that the tests need:$$missing"; \
	sudo=; test "$$(id -u)" = 0 || sudo=sudo; \
	$$sudo apt-get update -q && $$sudo apt-get install -q -y --no-install-recommends $$missing

# Does nothing where it is there.
.PHONY: python
python:
	@target/python/bin/pip freeze 2>/dev/null | grep -qx '$(PYTHON_CLIENT)' && exit 0; \
	echo "installing $(PYTHON_CLIENT) from PyPI into target/python"; \
	python3 -m venv target/python && target/python/bin/pip install -q $(PYTHON_CLIENT)

# The crate etcd-client needs protoc to be built, so it is in no package of the workspace.
.PHONY: rust-client
rust-client:
	@$(MAKE) -s packages DEBIAN_PACKAGES='protobuf-compiler libprotobuf-dev'
	$(CARGO) build -q --manifest-path tests/etcd-client/Cargo.toml --target-dir target/etcd-client

.PHONY: proto
proto: ## write the generated code of the etcd services anew, from etcd/proto
	$(CARGO) run -q -p kvwatch-proto

.PHONY: models
models: ## the engine under loom (every schedule of its parts) and shuttle (random schedules of all)
	RUSTFLAGS="--cfg kvwatch_loom" CARGO_TARGET_DIR=target/loom CARGO_PROFILE_RELEASE_LTO=off \
	  $(CARGO) test $(LIMITED) --release -p kvwatch-core --lib models -- --nocapture
	RUSTFLAGS="--cfg kvwatch_shuttle" CARGO_TARGET_DIR=target/shuttle CARGO_PROFILE_RELEASE_LTO=off \
	  $(CARGO) test $(LIMITED) --release -p kvwatch-core --lib models

# Debian's LLVM reads what Rust's writes as long as their formats agree.
LLVM := 19
COVERED := -p kvwatch-core -p kvwatch-tests --all-features

.PHONY: coverage
coverage: ## which lines of core/src the tests reach; installs Debian's llvm-19 if it is missing
	$(MAKE) packages DEBIAN_PACKAGES=llvm-$(LLVM)
	rm -rf target/coverage/profiles
	RUSTFLAGS="-C instrument-coverage" CARGO_TARGET_DIR=target/coverage \
	  LLVM_PROFILE_FILE="$(CURDIR)/target/coverage/profiles/%p-%m.profraw" \
	  $(CARGO) test -q $(COVERED)
	llvm-profdata-$(LLVM) merge -sparse target/coverage/profiles/*.profraw -o target/coverage/all.profdata
	llvm-cov-$(LLVM) report -instr-profile=target/coverage/all.profdata \
	  $$(RUSTFLAGS="-C instrument-coverage" CARGO_TARGET_DIR=target/coverage \
	     $(CARGO) test -q $(COVERED) --no-run --message-format=json \
	     | sed -n 's/.*"executable":"\([^"]*\)".*/-object \1/p') \
	  --ignore-filename-regex='(registry|rustc|tests/|adapters/|etcd/|server/|/rustlib/)' --show-region-summary=false

# Real threads, and nothing modelled. Some leak a watcher on purpose: tests/memory.rs looks for leaks.
CHECKED := --test promises --test cases --test threads

.PHONY: valgrind
valgrind: ## the library's tests under valgrind; installs it if it is missing
	$(MAKE) packages DEBIAN_PACKAGES=valgrind
	for binary in $$($(CARGO) test -q -p kvwatch-tests --all-features $(CHECKED) --no-run --message-format=json \
	    | sed -n '/"kind":\["test"\]/s/.*"executable":"\([^"]*\)".*/\1/p'); do \
	  valgrind -q --error-exitcode=9 --fair-sched=yes \
	    $$binary --test-threads 1 || exit 1; \
	done

.PHONY: soak
soak: ## ten minutes of random rounds on real threads, judged (MINUTES=n for more); and ten times the models
	$(MAKE) models KVWATCH_SCHEDULES=$(or $(SCHEDULES),20000)
	$(CARGO) run --release -p kvwatch-tests --bin soak $(MINUTES)
	CLOSES=$(or $(CLOSES),100000) $(CARGO) test -p kvwatch-tests --test closes

.PHONY: crashes
crashes: ## kill -9 the server fifty times under load, judged (KILLS=n for more)
	KILLS=$(or $(KILLS),50) $(CARGO) test -p kvwatch-tests --test etcd_crash -- --nocapture

.PHONY: bounds
bounds: ## the most memory that large values, transactions and replays take, in the engine and the server
	$(CARGO) test -p kvwatch-tests --test memory --test etcd_memory -- --nocapture --test-threads 1

.PHONY: crowd
crowd: ## 2,000 watch streams, alone and beside clients that do not read: time and memory
	$(CARGO) test -p kvwatch-tests --test etcd_crowd -- --nocapture

.PHONY: server
server: ## a single-node server for etcd's clients (DATA=folder, LISTEN=address)
	$(CARGO) run --release -p kvwatch-server -- --data $(or $(DATA),target/server) \
	  --listen $(or $(LISTEN),127.0.0.1:2379)

.PHONY: fuzz
fuzz: ## ten minutes of each fuzz target (SECONDS=n for more); needs nightly Rust and cargo-fuzz
	for target in selectors operations; do \
	  mkdir -p fuzz/found/$$target; \
	  $(CARGO) +nightly fuzz run $$target fuzz/found/$$target fuzz/corpus/$$target -- \
	    -max_total_time=$(or $(SECONDS),600) -max_len=2048 || exit 1; \
	done

.PHONY: check
check: fmt lint doc features no-protoc package ## formatting, clippy, docs, features, no protoc, packages

.PHONY: package
package: ## package every published crate, and build the packages as users and docs.rs do
	.ci/package

.PHONY: fmt
fmt:
	$(CARGO) fmt --all --check

.PHONY: lint
lint:
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings

.PHONY: doc
doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --all-features

comma := ,

# Clippy on package $(1) with every combination of the features $(2).
define each_combination
set -e; set -- $(2); count=$$(( 1 << $$# )); number=0; \
while [ $$number -lt $$count ]; do \
  chosen=; bit=1; \
  for feature in $(2); do \
    [ $$(( number & bit )) -eq 0 ] || chosen="$$chosen,$$feature"; \
    bit=$$(( bit << 1 )); \
  done; \
  echo "$(1) with [$${chosen#,}]"; \
  $(CARGO) clippy -q -p $(1) --features "$${chosen#,}" -- -D warnings; \
  number=$$(( number + 1 )); \
done
endef

# Package $(1) with the features $(2) depends on none of the packages $(3), a regular expression.
define does_not_depend_on
if $(CARGO) tree -e normal --prefix none -p $(1) --features "$(2)" | grep -E "^($(3)) "; then \
  echo "$(1) with [$(2)] depends on this without being asked to"; exit 1; \
fi
endef

.PHONY: features
features: ## build every combination of features, warnings denied
	@$(call each_combination,kvwatch,$(FEATURES))
	@$(call each_combination,kvwatch-etcd,$(ETCD_FEATURES))
	@set -e; for feature in $(FEATURES) none; do \
	  others=$$(echo '$(FEATURES) smol' | tr ' ' '\n' | grep -v -x $$feature | paste -s -d '|'); \
	  $(call does_not_depend_on,kvwatch,$${feature#none},$$others); \
	done
	@$(call does_not_depend_on,kvwatch,$(subst $() ,$(comma),$(FEATURES)),tonic|prost)
	@$(call does_not_depend_on,kvwatch-etcd,,tonic|tokio|getrandom)
	@$(call does_not_depend_on,kvwatch-etcd,client,getrandom)
	@$(call does_not_depend_on,kvwatch-examples,,tonic|rustls)

# In a folder of its own everything is built so, also what is built only once.
NO_PROTOC := $(CURDIR)/target/no-protoc

.PHONY: no-protoc
no-protoc: ## build the packages, with all features, where a call of protoc fails
	@mkdir -p $(NO_PROTOC)/path
	@printf '#!/bin/sh\necho "protoc was called" >&2\nexit 1\n' > $(NO_PROTOC)/path/protoc
	@chmod +x $(NO_PROTOC)/path/protoc
	PATH="$(NO_PROTOC)/path:$$PATH" PROTOC=$(NO_PROTOC)/none CARGO_TARGET_DIR=$(NO_PROTOC) \
	  $(CARGO) check -q -p kvwatch -p kvwatch-etcd -p kvwatch-server --all-features

.PHONY: msrv
msrv: ## build with the oldest Rust that Cargo.toml promises
	@stated=$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml); \
	if rustc --version | grep -q "^rustc $$stated\."; then \
	  echo "this is Rust $$stated"; $(CARGO) check -q --workspace --all-features; \
	elif rustup toolchain list 2>/dev/null | grep -q "^$$stated"; then \
	  $(CARGO) "+$$(rustup toolchain list | grep -o "^$$stated[^ ]*" | head -1)" check -q --workspace --all-features; \
	else \
	  echo "Rust $$stated is not at hand: not checked (rustup toolchain install $$stated)"; \
	fi

.PHONY: deny
deny: ## licences and advisories of every dependency
	@command -v cargo-deny >/dev/null \
	  || { echo "cargo-deny is not at hand: not checked (cargo install cargo-deny)"; exit 0; }; \
	$(CARGO) deny --log-level error check licenses bans sources || exit 1; \
	if $(CARGO) deny --log-level off fetch db; then $(CARGO) deny check advisories; \
	else echo "the advisories cannot be fetched here: not checked"; fi

.PHONY: bench
bench: ## kvwatch beside its peers, one table (W=w3 for one workload); installs protoc if it is missing
	$(MAKE) packages DEBIAN_PACKAGES=protobuf-compiler
	$(CARGO) run --release --manifest-path benches/d-engine/Cargo.toml \
	  --target-dir target/d-engine -- $(W) --out target/bench

.PHONY: compare
compare: ## two builds of the benchmarks, in turns (BEFORE=binary AFTER=binary W="w1 w3")
	benches/compare $(BEFORE) $(or $(AFTER),target/release/bench) $(W)

.PHONY: instructions
instructions: ## instructions an event under callgrind (BEFORE=binary AFTER=binary); installs valgrind
	$(MAKE) packages DEBIAN_PACKAGES=valgrind
	benches/count-instructions $(BEFORE) $(AFTER)

.PHONY: bench-etcd
bench-etcd: ## kvwatch-server beside a real etcd, one table (W=idle for one workload); five minutes
	@$(MAKE) -s packages DEBIAN_PACKAGES=etcd-server
	$(CARGO) build --release -p kvwatch-server
	$(CARGO) run --release -p kvwatch-bench-etcd -- $(W)

.PHONY: memory
memory: ## resident bytes of a watcher, with 100,000 of them
	$(CARGO) run --release -p kvwatch-benches --bin bench -- memory --rounds 1
