# `make help` lists what there is. Nothing but `make fix` changes a file of the project.
.DEFAULT_GOAL := help
SHELL := bash
.PHONY: help setup build run test ui sim chaos chaos-bugs bench fuzz verify fix clean

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install nats-server and the small local model (outside the repository), checked by hash
	@scripts/setup.sh

build: ## Build the program
	cargo build --locked -p planfleet

run: setup build ## Do a real job from start to end
	@examples/run.sh

test: setup ## Run every test, on real nats-servers, the real local model, public MCP servers and a browser
	@scripts/setup.sh --sdks --mcp --api --ui --hosts
	cargo nextest run --locked --workspace

ui: ## Check, test and build the dashboard; what is built is committed
	@scripts/setup.sh --no-model --ui
	@crates/api/ui/npm run check
	@crates/api/ui/npm run test
	@crates/api/ui/npm run build

.PHONY: test-deploy
test-deploy: ## Render the Helm chart and check it by Kubernetes' schemas (BLESS=1 keeps the renders), build the static program (PROFILE=dev: faster), run it in an empty root and in an image
	@scripts/setup.sh --no-model --deploy
	@tests/deploy/check.sh chart $(if $(BLESS),--bless)
	@PROFILE=$(PROFILE) tests/deploy/static.sh

sim: ## Simulate the fleet under faults: SEEDS=2000 worlds, or the one of SEED=n with its transcript
	PLANFLEET_SIM_SEEDS=$(SEEDS) PLANFLEET_SIM_SEED=$(SEED) \
		cargo test --locked -p planfleet --test sim -- --nocapture

# A campaign's own variables; SECONDS is that of `fuzz` too, and means as much there.
chaos: NODES ?= 1
chaos: SECONDS := $(if $(filter command line,$(origin SECONDS)),$(SECONDS),120)
chaos: setup ## Fight the fleet: SEED=1 NODES=1|3 SECONDS=120 of faults, one EVERY=2.5; RUNS=2000 at most by USERS=10, RELEASE=1
	PLANFLEET_CHAOS_SEED=$(SEED) PLANFLEET_CHAOS_RUNS=$(RUNS) PLANFLEET_CHAOS_USERS=$(USERS) \
	PLANFLEET_CHAOS_SECONDS=$(SECONDS) PLANFLEET_CHAOS_EVERY=$(or $(EVERY),2.5) \
		cargo test --locked $(if $(RELEASE),--release) -p planfleet --test chaos -- \
		--exact --nocapture $(if $(filter 1,$(NODES)),campaign_on_1_server,$(if $(filter 3,$(NODES)),campaign_on_3_servers,$(error NODES is 1 or 3, not $(NODES))))

chaos-bugs: setup ## Put bugs into the fleet and see the campaign catch each: BUG=name for one, none for the fleet as it is
	PLANFLEET_CHAOS_SEED=$(SEED) PLANFLEET_CHAOS_BUG=$(BUG) \
		cargo test --locked -p planfleet --features seeded-bugs --test chaos -- \
		--exact --nocapture seeded::every_seeded_bug_is_caught

bench: setup ## Measure everything, or BENCH=diamond-10, idle.. (RUNS= REPEAT=5 SYNC=always REPLICAS=3), fold, recovery, index: tables in target/bench
ifneq ($(filter-out fold recovery index,$(or $(BENCH),all)),)
	cargo build --locked --release -p planfleet
	target/release/planfleet bench $(BENCH) $(if $(RUNS),--runs $(RUNS)) $(if $(REPEAT),--repeat $(REPEAT)) \
		$(if $(SYNC),--sync $(SYNC)) $(if $(REPLICAS),--replicas $(REPLICAS))
endif
ifneq ($(filter fold,$(or $(BENCH),fold)),)
	cargo bench --locked -p planfleet-core --bench core --bench core_memory
endif
ifneq ($(filter recovery,$(or $(BENCH),recovery)),)
	cargo bench --locked -p planfleet --bench recovery
endif
ifneq ($(filter index,$(or $(BENCH),index)),)
	PLANFLEET_INDEX_RUNS=$(or $(RUNS),1000000) cargo test --locked --release -p planfleet-api --lib -- \
		--exact --nocapture index::tests::a_long_list_is_found_in
endif

.PHONY: bench-peers
bench-peers: ## Measure other engines on the same workloads: PEERS=restate,celery,dbos,temporal REPEAT=1, RUNS=20 for a quick look
	PEERS='$(PEERS)' REPEAT='$(REPEAT)' RUNS='$(RUNS)' python3 tests/peers/bench.py

TARGET ?= plan
SECONDS ?= 60
fuzz: ## Search for inputs that break a promise: TARGET=plan SECONDS=60 (needs cargo-fuzz)
	@command -v cargo-fuzz >/dev/null || { echo 'cargo-fuzz is missing: cargo install --locked cargo-fuzz' >&2; exit 1; }
	@mkdir -p tests/fuzz/found/$(TARGET)
	cargo fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none $(TARGET) \
		tests/fuzz/found/$(TARGET) tests/fuzz/corpus/$(TARGET) -- -max_total_time=$(SECONDS) -max_len=16384 -timeout=10

verify: ## Check format, lints, docs, generated code and the rules of the house; writes nothing
	cargo fmt --all --check
	cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p planfleet --features seeded-bugs --bins --test chaos -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items --quiet
	cargo nextest run --locked -p planfleet-proto --test generated
	cargo nextest run --locked -p planfleet --test tidy

fix: ## Mend what can be mended: format, lints, generated code
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all
	cargo fmt --manifest-path tests/fuzz/Cargo.toml
	PLANFLEET_BLESS=1 cargo test -q -p planfleet-proto --test generated
	PLANFLEET_BLESS=1 cargo test -q -p planfleet-api --test http contract

clean: ## Remove what was built and installed into this folder
	cargo clean
	rm -rf .tools crates/api/ui/node_modules
