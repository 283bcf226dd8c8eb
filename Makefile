# Two commands do all the set-up: `make run` and `make test`.
# The environment is made once and again only when pyproject.toml or the native kernel changes.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PYTHON := $(VENV)/bin/python
STAMPS := $(VENV)/stamps
NATIVE := $(wildcard */*.pyx mover/delta/*.pyx mover/delta/native/*)
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check

# The first Python that is new enough; say PYTHON3=/path/to/python to choose another.
PYTHON3 ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; break; }; done)

SOURCE ?=
TARGET ?=
ARGS ?=
export SOURCE TARGET
# Without bytecode on disk each of the many test processes compiles all test modules anew.
export PYTHONDONTWRITEBYTECODE :=

# To import and collect thousands of tests for two dozen of them takes ten seconds.
ALONE = $(shell grep -rl --include='test_*.py' 'mark\.alone' tests)

.PHONY: help run test check bench soak portable clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(STAMPS)/server ## Copy a real dataset between a real S3 server and a disk; or SOURCE=… TARGET=… ARGS=…
ifneq ($(strip $(SOURCE)$(TARGET)),)
	@$(VENV)/bin/mover copy "$$SOURCE" "$$TARGET" $(ARGS)
else
	@$(PYTHON) -m bench.demo $(ARGS)
endif

test: $(STAMPS)/test $(STAMPS)/rsync lint ## Lint, types, import contracts and all tests
	$(PYTHON) -m pytest -q -m "alone and not soak" $(ALONE)
	$(PYTHON) -m pytest -q -m "not soak and not alone" --numprocesses=3 --dist=worksteal

check: $(STAMPS)/test lint ## Lint, types, import contracts and the tests that need no server
	$(PYTHON) -m pytest -q tests/unit tests/property tests/test_house.py

.PHONY: lint
lint: $(STAMPS)/test
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(STAMPS)/bench ## Run the mover and its peers side by side; BENCH='small-down --repeats 3' narrows it
	$(PYTHON) -m bench run $(BENCH)

soak: $(STAMPS)/test $(STAMPS)/rsync ## Run the tests that take minutes
	$(PYTHON) -m pytest -q -m soak --timeout=3600
	$(PYTHON) -m pytest -q tests/property --hypothesis-profile=thorough --timeout=3600

portable: | $(PYTHON) ## Try the kernel and one wheel on processors that are played: without AVX, and ARM64
	@tests/portable/run.sh $(PYTHON)

clean: ## Remove the environment, caches and build results
	rm -rf mover/delta/_native.c mover/delta/_native*.so transports/_pages.c transports/_pages*.so
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PYTHON):
	@test -n "$(PYTHON3)" || { echo "Python 3.11 or newer is needed: install it, or say make PYTHON3=/path/to/python" >&2; exit 2; }
	@echo "making $(VENV) with $(PYTHON3)"
	@$(PYTHON3) -m venv $(VENV) || { echo "$(PYTHON3) cannot make environments: on Debian, install python3-venv" >&2; rm -rf $(VENV); exit 2; }

# Editable, so that only a change of the native kernel needs a new installation.
$(STAMPS)/server $(STAMPS)/test $(STAMPS)/bench: $(STAMPS)/%: pyproject.toml setup.py $(NATIVE) | $(PYTHON)
	@echo "installing the extra '$*' (the first time takes a minute)"
	@$(PIP) --editable '.[$*]'
	@mkdir -p $(STAMPS) && touch $@

# rsync is the judge of the filters' rules.
$(STAMPS)/rsync: | $(PYTHON)
	@command -v rsync >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq rsync >/dev/null; } \
		|| { echo "the tests need rsync: install it (Debian: apt-get install rsync)" >&2; exit 2; }
	@mkdir -p $(STAMPS) && touch $@
