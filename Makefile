# The two commands are `make demo` and `make test`; everything else is a part of them, or a tool.
# State lives in .venv and .concordance/; both are ignored by git and may be deleted at any time.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON311 ?= $(shell for python in python3.11 python3 python; do \
  "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && command -v "$$python" && break; done)
BOOTSTRAP := .concordance/bootstrap
UV := $(BOOTSTRAP)/bin/uv
PYTHON := .venv/bin/python
SET_UP := .venv/.set-up
PYTEST_ARGS ?=
BENCH_ARGS ?=

# Airflow starts many short Python processes: without compiled files each would compile thousands of modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup model lock demo up down status test lint format types contracts audit bench faults campaign simulate \
  monitoring-tools rules clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(UV): requirements-bootstrap.txt
	@if [ -z "$(PYTHON311)" ]; then \
	  echo "Python 3.11 was not found: install it (or name it: make PYTHON311=/path/to/python3.11 setup)." >&2; exit 1; fi
	@"$(PYTHON311)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON311) lacks the venv module: install python3.11-venv (Debian, Ubuntu) and try again." >&2; exit 1; }
	"$(PYTHON311)" -m venv --clear $(BOOTSTRAP)
	$(BOOTSTRAP)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.txt
	@touch $@

# uv removes what the lock does not name, so that .venv is the lock and nothing else; a second call costs nothing.
$(SET_UP): requirements-dev.txt | $(UV)
	@[ -x $(PYTHON) ] || $(UV) venv --quiet --python "$(PYTHON311)" .venv
	$(UV) pip sync --quiet --python $(PYTHON) --require-hashes requirements-dev.txt
	@$(PYTHON) -c 'import pathlib, sysconfig; \
	  pathlib.Path(sysconfig.get_path("purelib"), "concordance.pth").write_text(str(pathlib.Path("include").resolve()) + "\n")'
	@touch $@

setup: $(SET_UP) ## install the locked packages into .venv

# Once for each lock: converts the model and compares it with torch. What cannot be prepared runs with torch.
# What is prepared already costs a second to look at, whatever the settings name by now.
model: $(SET_UP) ## prepare the embedding model for this machine, once
	@$(PYTHON) -m concordance model prepare || echo "The model was not prepared; torch encodes, which is slower." >&2

lock: $(UV) ## compile requirements*.in again into the locks with hashes
	$(UV) pip compile --quiet --generate-hashes --python-version 3.11 --no-header --no-emit-index-url requirements.in -o requirements.txt
	$(UV) pip compile --quiet --generate-hashes --python-version 3.11 --no-header --no-emit-index-url -c requirements.txt \
	  requirements-dev.in -o requirements-dev.txt

demo: $(SET_UP) model ## start everything, ingest real documents through Airflow, show what is there
	@$(PYTHON) -m concordance demo

up: $(SET_UP) model ## start the embedded stores and Airflow
	@$(PYTHON) -m concordance up

down: $(SET_UP) ## stop them; the data stays
	@$(PYTHON) -m concordance down

status: $(SET_UP) ## what runs, and whether it is healthy
	@$(PYTHON) -m concordance status

test: $(SET_UP) model ## all tests; they start stores of their own, beside a running demo
	@$(PYTHON) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(SET_UP) ## style and formatting
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

format: $(SET_UP) ## format, and fix what can be fixed safely
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

types: $(SET_UP) ## mypy --strict
	@.venv/bin/mypy

contracts: $(SET_UP) ## the direction of imports, and one room for each driver
	@.venv/bin/lint-imports --no-logo

# The advisories live on a server: what it does not answer for is not known, which is said and is no failure of this tree.
audit: $(SET_UP) ## known vulnerabilities in the lock
	@report=$$(mktemp); trap 'rm -f "$$report"' EXIT; \
	.venv/bin/pip-audit --progress-spinner off --disable-pip --require-hashes -r requirements-dev.txt >"$$report" 2>&1 || true; \
	unknown=$$(grep -c 'could not be audited' "$$report" || true); locked=$$(grep -c '^[a-z0-9].*==' requirements-dev.txt); \
	if grep -q '^Found [0-9]' "$$report"; then grep -v 'could not be audited' "$$report"; exit 1; \
	elif grep -q '^No known vulnerabilities found' "$$report" && [ "$$unknown" -lt "$$locked" ]; then \
	  echo "audit: no known vulnerability in $$((locked - unknown)) of $$locked locked packages"; \
	  if [ "$$unknown" -gt 0 ]; then echo "audit: the advisory server gave no answer for the other $$unknown"; fi; \
	else grep -v 'could not be audited' "$$report" | tail -n 1; echo "audit: not done, the advisory server gave no answer"; fi

bench: $(SET_UP) model ## all figures as ratios, against the last release (make bench BENCH_ARGS="pipeline --quick")
	@PYTHONPATH=tests $(PYTHON) -m bench $(BENCH_ARGS)

faults: $(SET_UP) ## the fault suite alone, in full; prints the table of trials and violations
	@CONCORDANCE_FAULTS=full CONCORDANCE_FAULTS_TABLE=$${CONCORDANCE_FAULTS_TABLE:-.concordance/faults.json} \
	  $(PYTHON) -m pytest -m fault $(PYTEST_ARGS)

campaign: $(SET_UP) ## 20 healthy runs on a real Airflow by the limits that are shipped: no alert may fire
	@CONCORDANCE_CAMPAIGN=1 $(PYTHON) -m pytest tests/e2e/test_campaign.py $(PYTEST_ARGS)

SEEDS ?= 10000
simulate: $(SET_UP) ## the seeded simulator alone, 10,000 histories (make simulate SEEDS=...)
	@CONCORDANCE_SEEDS=$(SEEDS) $(PYTHON) -m pytest tests/simulation $(PYTEST_ARGS)

monitoring-tools: $(UV) ## statsd_exporter, Prometheus and Alertmanager for the tests, into .concordance/monitoring
	@.ci/monitoring-tools

rules: $(SET_UP) monitoring-tools ## check the monitoring stack's files, and what every alert rule does
	@CONCORDANCE_REQUIRE_MONITORING=1 $(PYTHON) -m pytest tests/monitoring/test_rules.py $(PYTEST_ARGS)

clean: ## delete caches; .venv and .concordance/ stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find include dags plugins tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
