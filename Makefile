# graphc: a virtual environment, the demo, the tests and the checks. Needs Python >= 3.11 and make.
#
#   make demo       train LeNet-5 on real digits and look at every stage     (DEMO="--model mlp" ...)
#   make test       the tests without the slow ones, with coverage >= 90 %   (TESTS=tests/ops ...)
#   make test-all   every test
#   make lint       ruff and mypy --strict
#   make clean      removes what was built, make distclean the environment too
#
# Choose the interpreter with PYTHON=..., the environment's folder with VENV=...

CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python
NEW_ENOUGH := import sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	$$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
METADATA := pyproject.toml setup.py Makefile
WORKERS ?= 2
TESTS ?= tests
# The bar on coverage holds for the whole suite only. Suites from outside and sweeps run without:
# counting lines makes them several times slower, and other tests reach the same lines.
COVERAGE := --cov --cov-report=term $(if $(filter tests,$(TESTS)),--cov-fail-under=90)
UNCOUNTED := (outside or sweep)
# Of the whole suite, each run collects the files that have tests for it only.
ifeq ($(TESTS),tests)
MARKED := grep -rlE --include='*.py'
WITHOUT := $(patsubst %,--ignore=%,$(shell $(MARKED) '^pytestmark = .*(outside|sweep)' tests))
UNCOUNTED_TESTS := $(shell $(MARKED) 'mark\.(outside|sweep)' tests)
endif
UNCOUNTED_TESTS ?= $(TESTS)
# TESTS may name a folder in which one of the two runs finds no tests, pytest's status 5.
OR_NONE := || [ $$? -eq 5 ]
PYTEST := $(BIN)/python -P -m pytest -n $(WORKERS)

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint clean distclean

help:
	@sed -n '/^#   make/s/^#   //p' Makefile

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
	    echo "graphc needs Python 3.11 or newer, and none was found." >&2; \
	    echo "Install one, or name it: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; fi
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { \
	    echo "graphc needs Python 3.11 or newer, and $(PYTHON) is not." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	    echo "No environment could be made in $(VENV)." >&2; \
	    echo "On Debian and Ubuntu, install the package python3-venv first." >&2; \
	    rm -f $(BIN)/python; exit 1; }

# One stamp per set of requirements. The install is editable, so only changed metadata repeats it.
$(VENV)/.installed: $(METADATA) | $(BIN)/python
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-test: $(METADATA) | $(BIN)/python
	$(INSTALL) --editable ".[test]"
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: $(METADATA) | $(BIN)/python
	$(INSTALL) --editable ".[dev]"
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/graphc demo $(DEMO)

test: $(VENV)/.installed-test
	$(PYTEST) -m "not slow and not $(UNCOUNTED)" $(COVERAGE) $(TESTS) $(WITHOUT) $(OR_NONE)
	$(PYTEST) -m "not slow and $(UNCOUNTED)" $(UNCOUNTED_TESTS) $(OR_NONE)

test-all: $(VENV)/.installed-test
	$(PYTEST) -m "not $(UNCOUNTED)" $(COVERAGE) $(TESTS) $(WITHOUT) $(OR_NONE)
	$(PYTEST) -m "$(UNCOUNTED)" $(UNCOUNTED_TESTS) $(OR_NONE)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/python tools/check_types.py

clean:
	rm -rf build dist *.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache

distclean: clean
	rm -rf $(VENV)
