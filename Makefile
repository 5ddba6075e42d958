# What there is to do here; `make help` lists it. Everything happens in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Real parts that a test run insists on; empty: what is missing is skipped and listed at the end.
REQUIRE ?=
# Processes that tests run in; each starts the real parts that it needs. 0: in this one, to debug.
JOBS ?= 2
# In the order of collection: those marked long begin before all others (tests/conftest.py).
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(if $(REQUIRE),--require $(REQUIRE))

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: run
run: $(READY) ## Start Blick here: own users, SQLite, images in ./blick-data
	@exec $(BIN)/blick serve

.PHONY: test
test: $(READY) ## Run all tests (make deps first, to have every real part)
	$(PYTEST) -m "not alone"
	$(BIN)/python -m pytest $(if $(REQUIRE),--require $(REQUIRE)) -m alone

# Generated and extreme requests, and conversions: they find what nobody thought of, and take as long as all the others.
SLOW := $(addprefix --ignore=tests/api/,test_fuzz.py test_fuzz_identity.py test_extremes.py test_import_plugins.py \
	test_import_plugins_fuzz.py)

# The stores that need no server; the others' tests are make test's.
QUICK_STORES := $(addprefix tests/stores/,test_conformance.py test_file.py test_http.py)

.PHONY: check
check: $(READY) ## Format, lint, types, imports and the fast tests, in a minute and a half
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q -n 2 -m "not database_server" $(SLOW) tests/unit tests/db $(QUICK_STORES) tests/api

.PHONY: databases
databases: $(READY) ## Run the tests that work on MariaDB and PostgreSQL (make check leaves them out)
	$(PYTEST) -q -m database_server

.PHONY: cinder
cinder: $(READY) ## Run the tests with a real Cinder, which make test leaves out: ten minutes, 1.2 GB of memory
	PYTHON=$(PYTHON) scripts/deps.sh cinder
	$(BIN)/python -m pytest -q --require cinder tests/stores/test_cinder.py

.PHONY: format
format: $(READY) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench
bench: $(READY) ## Measure side by side with the reference service (BENCH="--quick": a short run; "--database mariadb": lists there; "--stores": images in and out of each kind; "--imports": imports; "--metadefs": metadata definitions; "--purge": db purge)
	$(BIN)/python -m tests.bench $(BENCH)

.PHONY: man
man: $(READY) ## Write a manual page for every command to build/man (man -M build/man blick-db)
	$(BIN)/python -m blick.cli.manual build/man

.PHONY: deps
deps: ## Install what the real parts of the tests need (says what)
	PYTHON=$(PYTHON) scripts/deps.sh
	@$(MAKE) --no-print-directory $(READY)
	@echo "deps: $(VENV) holds blick, its test tools, and the clients openstack, glance and openstacksdk"

.PHONY: lock
lock: ## Write requirements.lock anew from pyproject.toml
	scripts/lock.sh

.PHONY: clean
clean: ## Remove everything that was made here, except images
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist src/*.egg-info
