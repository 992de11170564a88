# One command to run it, one to test it. Needs Python 3.11 or later, git and make; the rest is
# installed into .venv from hashed lock files.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Some containers set it. A service or a test run is a dozen processes: without what Python keeps of
# its compiling (in __pycache__, git-ignored) each of them compiles a thousand modules anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON := .venv/bin/python
# Not test-results: the browser plug-in empties that folder whenever a run starts.
RESULTS := build/tests
# Extra arguments for pytest: make test PYTEST_ARGS="-k queue"
PYTEST_ARGS ?=

.PHONY: help run test test-postgres test-laboratory test-exchange test-apart test-sqlite bench bench-large bench-claims bench-dicom api-fuzz fuzz chaos lint format lock licences clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' \
		| awk -F '\t' '{ printf "  make %-14s %s\n", $$1, $$2 }'

# exec, so that Ctrl-C and SIGTERM reach the server itself.
run: ## Start the platform with demo data at http://127.0.0.1:8000 (WBCLAB_PORT, WBCLAB_HOME)
	@scripts/install_requirements.sh serve
	WBCLAB_DEMO=$${WBCLAB_DEMO-1} exec $(PYTHON) manage.py serve

test: ## Lint, the whole suite on PostgreSQL and Redis, and its core on SQLite, beside each other
	@scripts/install_requirements.sh test
	scripts/install_debian_packages.sh
	rm -rf $(RESULTS)
	mkdir -p $(RESULTS)
	export WBCLAB_TEST_HOME=$$PWD/$(RESULTS)/home
	status=0
	# Three rows of about the same length, which keep two cores busy: each waits a good deal.
	$(MAKE) test-exchange >$(RESULTS)/exchange.log 2>&1 & exchange=$$!
	$(MAKE) -k test-apart test-sqlite >$(RESULTS)/apart.log 2>&1 & apart=$$!
	$(MAKE) -k lint test-laboratory || status=$$?
	wait $$exchange || status=$$?
	cat $(RESULTS)/exchange.log
	wait $$apart || status=$$?
	cat $(RESULTS)/apart.log
	$(PYTHON) -m tests.summary $(RESULTS) || status=$$?
	exit $$status

# The suite on PostgreSQL and Redis in three parts, each against servers of its own. What no list
# holds is the laboratory's: so is a long file of DICOM, which evens the parts out.
EXCHANGE := tests/classifier tests/interop \
	$(filter-out tests/dicom/test_listener_killed.py,$(wildcard tests/dicom/test_*.py))
APART := tests/browser tests/chaos
ON_POSTGRES = $(PYTHON) -m tests.counterparts -- $(COVERAGE) -m pytest -m "not embedded"
COVERAGE = $(PYTHON)

test-postgres: test-laboratory test-exchange test-apart ## The whole suite, against throw-away PostgreSQL and Redis servers

test-laboratory:
	@$(ON_POSTGRES) $(patsubst %,--ignore=%,$(EXCHANGE) $(APART)) --junit-xml=$(RESULTS)/laboratory.xml $(PYTEST_ARGS)

test-exchange:
	@$(ON_POSTGRES) $(EXCHANGE) --junit-xml=$(RESULTS)/exchange.xml $(PYTEST_ARGS)

test-apart:
	@$(ON_POSTGRES) $(APART) --junit-xml=$(RESULTS)/apart.xml $(PYTEST_ARGS)

# No other folder holds such tests; importing the model's or the browser's takes a while.
ON_SQLITE := $(addprefix tests/,api dicom interop operations portal specimens)

test-sqlite: ## The core of the suite, in the embedded mode
	@WBCLAB_HOME=$$(mktemp -d)
	export WBCLAB_HOME
	trap 'rm -rf "$$WBCLAB_HOME"' EXIT
	unset WBCLAB_DATABASE_URL WBCLAB_REDIS_URL
	$(PYTHON) -m pytest $(ON_SQLITE) -m "(core or embedded) and not redis and not postgres" \
		--junit-xml=$(RESULTS)/sqlite.xml $(PYTEST_ARGS)

coverage: ## The suite on PostgreSQL once more, measuring which lines and branches it runs (HTML below build/)
	@scripts/install_requirements.sh test
	scripts/install_debian_packages.sh
	rm -f .coverage
	$(MAKE) test-postgres COVERAGE="$(PYTHON) -m coverage run --append"
	$(PYTHON) -m coverage html --directory=$(RESULTS)/coverage

bench: ## Measure the service against the naive baseline; asserts nothing
	@scripts/install_requirements.sh test
	scripts/install_debian_packages.sh
	$(PYTHON) -m bench

bench-large: ## Measure the lists with 10 million cells in PostgreSQL (20 GB of disk, a quarter of an hour)
	@scripts/install_requirements.sh test
	scripts/install_debian_packages.sh
	$(PYTHON) -m bench.large_laboratory

bench-claims: ## Measure 1, 2, 4 and 8 workers on one PostgreSQL, the model replaced by a wait (two minutes)
	@scripts/install_requirements.sh test
	scripts/install_debian_packages.sh
	$(PYTHON) -m bench.claims

FUZZ_REQUESTS ?= 5000
api-fuzz: ## Send thousands of requests drawn from the OpenAPI document, as each role (FUZZ_REQUESTS)
	@scripts/install_requirements.sh test
	scripts/install_debian_packages.sh
	WBCLAB_FUZZ_REQUESTS=$(FUZZ_REQUESTS) $(PYTHON) -m tests.counterparts -- $(PYTHON) -m pytest \
		tests/api/test_schemathesis.py -rP $(PYTEST_ARGS)

FUZZ_CASES ?= 20000
fuzz: ## Send damaged DICOM files to the reader, a share of them over the network (FUZZ_CASES)
	@scripts/install_requirements.sh test
	scripts/install_debian_packages.sh
	$(PYTHON) -m tests.dicom.fuzzing --cases $(FUZZ_CASES)

bench-dicom: ## Send 1,000 instances over 4 associations, twice, and with the listener killed (some minutes)
	@scripts/install_requirements.sh test
	scripts/install_debian_packages.sh
	WBCLAB_DICOM_TEST_INSTANCES=1000 $(PYTHON) -m tests.counterparts -- $(PYTHON) -m pytest -q -s \
		tests/dicom/test_listener_killed.py

SEED ?=
MINUTES ?= 6
chaos: ## Strike the whole service at random under load (SEED, MINUTES of load; log in build/chaos)
	@scripts/install_requirements.sh test
	scripts/install_debian_packages.sh
	$(PYTHON) -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

lint: ## Format, types, layers, security, migrations, deployment settings
	@scripts/install_requirements.sh test
	scripts/lint.sh

format: ## Let ruff format and mend what it can
	@scripts/install_requirements.sh test
	$(PYTHON) -m ruff check --fix --exit-zero .
	$(PYTHON) -m ruff format .

lock: ## Compile requirements/*.in to lock files with hashes (UPGRADE=1 takes newer releases)
	@scripts/install_requirements.sh test
	scripts/compile_requirements.sh $(if $(UPGRADE),--upgrade)

licences: ## Write docs/licences.md from what is locked and installed
	@scripts/install_requirements.sh test
	$(PYTHON) scripts/licences.py

clean: ## Remove what was installed and generated; keeps var/, the data of make run
	@rm -rf .venv staticfiles $(RESULTS) .coverage htmlcov .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
