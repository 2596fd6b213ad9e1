# Everything here needs only Python 3.11 or later and make. What is installed goes into
# VENV, and is installed again only when what the project asks for has changed.

VENV ?= .venv
# The Python to make VENV with; by default the first suitable one on the machine.
PYTHON ?=
# The database of the demo; by default the file hqt.db.
URL ?=
# Further arguments of pytest, for example ARGS="-k fixtures --backends sqlite-file",
# or of the benchmarks, for example ARGS="peers --quick".
ARGS ?=
# Processes that run the tests side by side; one more than processors, as many tests wait.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
DATABASE = $(or $(URL),$(HQT_DATABASE_URL))
DRIVER = $(if $(filter mysql% mariadb%,$(DATABASE)),-mysql)$(if $(findstring +psycopg,$(DATABASE)),-psycopg)

.NOTPARALLEL:
.PHONY: help demo test test-dialect bench check clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo: $(VENV)/installed-demo$(DRIVER) ## store a real backtest and paper-trade it [URL=postgresql://...]
	@HQT_DATABASE_URL="$${URL:-$$HQT_DATABASE_URL}" $(VENV)/bin/python examples/ma_crossover.py

test: $(VENV)/installed-test ## run every test on SQLite, PostgreSQL and MariaDB [ARGS=...]
	@sh .ci/mariadb
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-dialect: $(VENV)/installed-test ## run SQLAlchemy's dialect suite on ours and the stock one
	$(VENV)/bin/python -m tests.dialect $(ARGS)

bench: $(VENV)/installed-bench ## compare drivers and peers, or two runs [ARGS="peers --quick"]
	@sh .ci/mariadb
	@sh .ci/sqlite
	@$(VENV)/bin/python -m benchmarks $(ARGS)

check: $(VENV)/installed-test $(VENV)/installed-check ## run the linters and the type checker
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

clean: ## remove the environment and what the tools keep; hqt.db stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

$(VENV)/bin/python:
	@echo "Creating $(VENV) ..."
	@sh .ci/venv $(VENV) $(PYTHON)

$(VENV)/installed-%: pyproject.toml | $(VENV)/bin/python
	@echo "Installing what make $(firstword $(subst -, ,$*)) needs ..."
	@$(PIP) $(REQUIREMENTS)
	@touch $@

$(VENV)/installed-demo: REQUIREMENTS = --editable '.[demo]'
$(VENV)/installed-demo-mysql: REQUIREMENTS = --editable '.[demo,mysql]'
$(VENV)/installed-demo-psycopg: REQUIREMENTS = --editable '.[demo,psycopg]'
$(VENV)/installed-test: REQUIREMENTS = --editable '.[cli,demo,mysql,parquet,psycopg,zstd]' --group test
$(VENV)/installed-bench: REQUIREMENTS = --editable '.[cli,mysql,parquet,psycopg,zstd]' --group bench
$(VENV)/installed-check: REQUIREMENTS = --group check
