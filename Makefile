# Everything runs in .venv, which the first target that needs it makes.

PYTHON ?= python3
BIN := .venv/bin

# Data sets beside the checkout, for the tests that read real images; they skip without.
ADVPOSE_DATA ?= $(abspath $(wildcard ../shared/data))
ifneq ($(ADVPOSE_DATA),)
export ADVPOSE_DATA
endif

# The tests' nets are too small to gain from threads, and Ray's processes would fight over the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest

.DEFAULT_GOAL := help
.PHONY: help tune test test-all lint env hooks clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

tune: .venv/run-stamp ## Search on drawn people, nothing to download; options in ARGS="--trials 4"
	$(BIN)/python launch/tune.py $(ARGS)

test: lint .venv/browser-stamp ## Lint, then the unit tests and the fast Ray tests, as CI does
	$(PYTEST) -m "not slow"

test-all: lint .venv/browser-stamp ## Lint, then every test
	$(PYTEST)

lint: .venv/dev-stamp ## Check style, types and imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

env: .venv/dev-stamp ## Make .venv with everything that development needs

hooks: .venv/dev-stamp ## Lint before every commit
	$(BIN)/pre-commit install

clean: ## Remove .venv and all caches; data/ and runs/ stay
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache *.egg-info build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is touched last, so that a failed installation is tried again.
.venv/run-stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: '$(PYTHON)' is not Python 3.11 or newer; name one, as in: make PYTHON=python3.12 env" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt -e .
	@touch $@

.venv/dev-stamp: .venv/run-stamp
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	@touch $@

# The browser that reads the reports, from Debian's packages. Its tests skip without one, so that this never fails;
# the stamp is not touched then, and so the reason is said every time.
APT := env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20
.venv/browser-stamp: | .venv/dev-stamp
	@there() { command -v chromium && command -v chromedriver; } >/dev/null; \
	why="chromium and chromedriver are not on PATH, and only root can install them, with apt-get"; \
	if ! there && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing chromium for the browser tests"; \
		said=$$({ timeout 300 $(APT) update && $(APT) install -y --no-install-recommends chromium chromium-driver; } 2>&1) || \
			why="apt-get failed. $$(printf '%s\n' "$$said" | grep -m 1 '^E: ')"; \
	fi; \
	if there; then touch $@; else echo "The browser tests will be skipped: $$why"; fi
