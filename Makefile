# One command to run (make up), one to test (make test). Needs Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin/python
# State goes to var/; PORT, FLOWER_PORT and EVENTSITE_VAR move a stack aside.

.DEFAULT_GOAL := help
.PHONY: help up start down status logs test lint format bench bench-insights torture loadtest demo screenshots clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

up: $(VENV)/runtime ## start everything, stop it with Ctrl-C
	@exec $(BIN) manage.py up

start: $(VENV)/runtime ## start everything in the background
	@exec $(BIN) manage.py up --detach

down: $(VENV)/runtime ## stop what `make up` or `make start` started
	@exec $(BIN) -m eventsite.console down

status: $(VENV)/runtime ## what runs, since when, how much memory
	@exec $(BIN) -m eventsite.console status

logs: $(VENV)/runtime ## follow all logs
	@exec $(BIN) -m eventsite.console logs

test: $(VENV)/development ## every test, on a PostgreSQL and a Valkey of their own
	@exec $(BIN) -m pytest $(ARGS)

lint: $(VENV)/development ## ruff, mypy, import-linter, missing migrations
	@$(BIN) -m ruff check .
	@$(BIN) -m ruff format --check .
	@$(BIN) -m mypy
	@$(VENV)/bin/lint-imports
	@# Without a database Django warns that it cannot compare with applied migrations; models against files is what counts.
	@$(BIN) -W ignore manage.py makemigrations --check --dry-run

format: $(VENV)/development ## let ruff format and mend
	@$(BIN) -m ruff format .
	@$(BIN) -m ruff check --fix .

BENCH ?= ingest
bench: $(VENV)/runtime ## measure this machine: ingestion (needs wrk); BENCH=store the insert, BENCH=admin its lists at 5 million events, BENCH=pages the pages at 10 million
	@exec $(BIN) -m bench.$(BENCH) $(ARGS)

bench-insights: $(VENV)/runtime ## questions of 10 million events: ours, PostgreSQL's, DuckDB by hand (ARGS='--events 1000000')
	@exec $(BIN) -m bench.insights $(ARGS)

torture: $(VENV)/development ## ten minutes of crashes on a stack of its own, and the count (ARGS='--seed 7 --minutes 10')
	@exec $(BIN) -m torture $(ARGS)

loadtest: $(VENV)/development ## locust, 100 to 1,000 users; then with a slow drain and a small queue
	@exec $(BIN) -m loadtest

demo: $(VENV)/runtime ## a month of a web shop in a project of its own, on the running stack (ARGS='--days 7 --live 20')
	@exec $(BIN) manage.py demo $(ARGS)

screenshots: $(VENV)/development ## the pictures in docs/screenshots, of the demo on a stack of its own (needs Chromium)
	@exec $(BIN) -m systemtest.screenshots

clean: ## remove the virtual environment and caches; var/ (your data) stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the virtual environment: made once, filled again when a requirements file changed ---------------------

PIP := $(BIN) -m pip --disable-pip-version-check --quiet

$(VENV)/runtime: requirements.txt $(VENV)/made
	@echo "Installing requirements (once) ..."
	@$(PIP) install -r requirements.txt
	@touch $@

$(VENV)/development: requirements-dev.txt requirements.txt $(VENV)/made
	@echo "Installing requirements for tests (once) ..."
	@$(PIP) install -r requirements-dev.txt
	@touch $@ $(VENV)/runtime

$(VENV)/made:
	@sh .ci/venv $(PYTHON) $(VENV)
	@touch $@
