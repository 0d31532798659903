# make demo | test | check | bench | fuzz | soak | soak-service | package | lock | test-all
# Everything is set up on demand in $(VENV); nothing is needed beforehand but Python >= 3.11 with venv.

# The first Python on the PATH that is new enough; `make PYTHON=/path/to/python3.13 ...` names another.
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in $(CANDIDATES); do $$p -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
BENCH_ARGS ?=
FUZZ_ARGS ?=
SOAK_ARGS ?=

.PHONY: demo test check bench bench-servers bench-streams bench-lab fuzz soak soak-service package lock test-all clean
.DEFAULT_GOAL := test

demo: $(VENV)/.runs
	$(BIN)/python sample_files/demo.py

test: $(VENV)/.develops
	$(BIN)/python -m pytest -n auto $(PYTEST_ARGS)

check: $(VENV)/.supplies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py
	$(BIN)/python tests/supply/audit.py

# Beside other servers, beside bare system calls, and the lab beside what it is asked for.
bench: bench-servers bench-streams bench-lab

bench-servers: $(VENV)/.develops
	$(BIN)/python bench/compare_servers.py $(BENCH_ARGS)

bench-streams: $(VENV)/.develops
	$(BIN)/python bench/stream_speed.py
	$(BIN)/python bench/stream_crowd.py

bench-lab: $(VENV)/.develops
	$(BIN)/python bench/relay_speed.py
	$(BIN)/python bench/lab_fidelity.py

# Runs until Ctrl-C; FUZZ_ARGS="packet --seconds 60" narrows it.
fuzz: $(VENV)/.fuzzes
	$(BIN)/python tests/fuzz/run.py $(FUZZ_ARGS)

# Simulated transfers, crashes and forged requests for an hour; SOAK_ARGS="--seeds 20000" for so many, in a minute.
soak: $(VENV)/.develops
	$(BIN)/python tests/soak/simulate.py $(SOAK_ARGS)

# Wheel and sdist, installed into an empty environment and tried there.
package: $(VENV)/.supplies
	$(BIN)/python tests/supply/package.py

# Pins every dependency again: the newest that pyproject.toml allows, for all systems and every CPython from 3.11 on.
# What is in two lock files is the same release in both.
lock: $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	constraint=; for extra in dev supply fuzz; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
			--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
			--extra $$extra $$constraint --output-file requirements-$$extra.lock pyproject.toml || exit 1; \
		constraint='--constraint requirements-dev.lock'; \
	done

# Real clients and a real server through a bad link (as root, or where namespaces may be made); SOAK_ARGS="--minutes 30".
soak-service: $(VENV)/.develops
	$(BIN)/python tests/soak/service.py $(SOAK_ARGS)

# The suite on every CPython that is installed, each in a .venv-3.X of its own; fails if one fails.
test-all:
	@set -e; found=; for v in 3.11 3.12 3.13 3.14; do \
		python$$v -c '$(NEW_ENOUGH)' 2>/dev/null || { echo "== python$$v: not installed"; continue; }; \
		echo "== python$$v"; found=yes; \
		$(MAKE) --no-print-directory test PYTHON=python$$v VENV=.venv-$$v; \
	done; test -n "$$found" || { echo "no python3.11 to python3.14 on the PATH" >&2; exit 1; }

# Stamps: made again when the dependencies or the entry points change.
$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "blockstep needs Python >= 3.11; name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { echo "$(PYTHON) is older than Python 3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runs: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.develops: $(VENV)/.made pyproject.toml requirements-dev.lock
	.ci/install $(BIN) dev
	@touch $@ $(VENV)/.runs

$(VENV)/.supplies: $(VENV)/.develops requirements-supply.lock
	.ci/install $(BIN) supply
	@touch $@

$(VENV)/.fuzzes: $(VENV)/.develops requirements-fuzz.lock
	.ci/install $(BIN) fuzz
	@touch $@

clean:
	rm -rf .venv .venv-3.* .fuzz .soak .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
