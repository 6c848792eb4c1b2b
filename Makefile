# Everything works in a fresh clone with Python 3.11 or newer, git and make. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
# Two processes suit a small machine; each has a storage server and agents of its own.
TEST_PROCESSES ?= 2
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@python=""; \
	for name in $${PYTHON:-python3.13 python3.12 python3.11 python3}; do \
	  if "$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    python="$$name"; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "No Python 3.11 or newer with the venv and ensurepip modules was found." >&2; \
	  echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	echo "creating $(VENV) with $$python"; \
	"$$python" -m venv $(VENV)

# The stamps hold what was installed last, so that an unchanged lock file installs nothing.
$(VENV)/.stamp-demo: requirements.lock pyproject.toml | $(BIN)/python
	@if [ ! -e $(VENV)/.stamp-dev ]; then \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $@

$(VENV)/.stamp-dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# S3 servers for the tests have an environment of their own: ministack wants another botocore than aioboto3 does.
$(VENV)/.stamp-servers: requirements-servers.lock | $(BIN)/python
	@$(BIN)/python -m venv $(VENV)/servers
	@$(VENV)/servers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  -r requirements-servers.lock
	@touch $@

.PHONY: venv
venv: $(VENV)/.stamp-dev $(VENV)/.stamp-servers ## install everything for development into .venv

.PHONY: demo
demo: $(VENV)/.stamp-demo ## run the demo (control room on a terminal, else batch)
	@exec $(BIN)/sai3tui demo

.PHONY: test
test: venv ## run the test suite
	@$(BIN)/pytest -q -n $(TEST_PROCESSES) --dist worksteal -m "not slow"

.PHONY: test-long
test-long: venv ## run the test suite and the slow tests
	@$(BIN)/pytest -q -n $(TEST_PROCESSES) --dist worksteal

.PHONY: test-ceph
test-ceph: venv ## test the S3 engines against Ceph's gateway (apt-get install radosgw ceph-mon ceph-mgr ceph-osd)
	@$(BIN)/pytest -q -n 0 -k ceph tests/test_storage_conformance.py

.PHONY: lint
lint: $(VENV)/.stamp-dev ## check style, types and import layers
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache --no-logo

.PHONY: audit
audit: $(VENV)/.stamp-dev ## ask for known weaknesses of what is in the lock files (needs the network)
	@$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements.lock
	@$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements-dev.lock

.PHONY: format
format: $(VENV)/.stamp-dev ## rewrite the code in the one style
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

.PHONY: lock
lock: $(VENV)/.stamp-dev ## renew the lock files from pyproject.toml
	@$(COMPILE) $(addprefix --extra ,demo checksums parquet test build dev) -o requirements-dev.lock
	@$(COMPILE) --extra demo --extra build -c requirements-dev.lock -o requirements.lock
	@$(subst pyproject.toml,tests/servers.in,$(COMPILE)) -o requirements-servers.lock

.PHONY: docs
docs: $(VENV)/.stamp-dev ## write docs/config.md, docs/compatibility.md and docs/live.svg anew
	@$(BIN)/sai3tui schema --format config > docs/config.md
	@$(BIN)/sai3tui schema --format compatibility > docs/compatibility.md
	@$(BIN)/python -m tests.front_picture docs/live.svg

.PHONY: proto
proto: $(VENV)/.stamp-dev ## generate the protocol code anew
	@$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. \
	  sai3tui/proto/sai3tui.proto

.PHONY: snapshots
snapshots: $(VENV)/.stamp-dev ## accept how the screens look now (look at the pictures before you commit them)
	@$(BIN)/pytest -q -n 0 tests/test_ui_*.py --snapshot-update

$(VENV)/.stamp-bench: benchmarks/clients.in | $(BIN)/python
	@$(BIN)/python -m venv $(VENV)/bench
	@$(VENV)/bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/clients.in
	@touch $@

.PHONY: bench
bench: $(VENV)/.stamp-dev $(VENV)/.stamp-bench ## compare S3 clients and the agent on this machine (ten minutes)
	@$(BIN)/python -m benchmarks.compare --others $(VENV)/bench/bin/python --json benchmark.json \
	  --docs docs/performance.md
