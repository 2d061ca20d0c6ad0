# Every target sets up what it needs first (scripts/setup); a second run starts at once.
#   make demo                      the stack, a live stream, a clip: everything to see
#   make up                        the stack alone; Ctrl-C stops it
#   make test PYTEST_ARGS="-k rtmp -x"
PYTEST_ARGS ?=
BENCH ?=
COMPOSE_ARGS ?=
BIN := .venv/bin
export PYTHON

.PHONY: help setup demo up test test-all lint format bench contracts soak compose-check clean

help:
	@sed -n '2,4s/^# \{0,1\}//p' Makefile
	@echo "targets: demo up test test-all lint format bench contracts soak compose-check clean"

setup:
	@scripts/setup

demo: setup
	@$(BIN)/reelay demo

up: setup
	@$(BIN)/reelay up

# Three workers on two cores, because half of the suite waits for streams in real time. A file's tests stay together,
# and files come in the order of their folders: long ones (e2e) early, so that short ones (unit) fill up the end.
# Where CI is set, pytest compares whatever differs line by line: hours for half a megabyte.
# `test` runs three cases of each matrix of the slow layers (tests/support/thinning.py), `test-all` every one.
PYTEST := env -u CI -u BUILD_NUMBER $(BIN)/python -m pytest -m "not soak" -n 3 --dist loadfile --no-loadscope-reorder --maxfail 40
test: setup
	@$(BIN)/python scripts/setup_peers.py
	@$(PYTEST) --thin $(PYTEST_ARGS)

test-all: setup
	@$(BIN)/python scripts/setup_peers.py
	@$(PYTEST) $(PYTEST_ARGS)

# Long runs, by hand.
soak: setup
	@$(BIN)/python -m pytest -m soak --timeout=0 -o faulthandler_timeout=0 $(PYTEST_ARGS)

lint: setup
	@failed=0; $(BIN)/ruff check . || failed=1; $(BIN)/ruff format --check . || failed=1; \
	$(BIN)/mypy || failed=1; scripts/lint-api || failed=1; exit $$failed

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# Regenerates contracts/schemas, contracts/openapi.json and compose/nats/users.conf from the code.
contracts: setup
	@$(BIN)/python -m scripts.contracts_gen

# Every program tests/bench/bench_*.py, or one: make bench BENCH=ingest
bench: setup
	@scripts/bench $(BENCH)

# The stack of compose/ in containers, with docker or podman, and away again: make compose-check COMPOSE_ARGS="--help"
compose-check: setup
	@scripts/compose-check $(COMPOSE_ARGS)

# Everything that the targets above made; recordings (data/) stay.
clean:
	@rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
