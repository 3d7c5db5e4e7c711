# make run    environment, install, gradient ascent, policy-guided search and matched search on the embedded TFBind8 data, ending in the table
# make test   environment, install, the test suite
# make check  lint, formatting and types, as CI runs them
# make docs   environment, install, the documentation site in docs/_build/html (Python 3.11 or newer)
# The others need Python >= 3.10 only. PYTHON=python3.12 chooses another; PIP_ARGS=... is handed to pip.
# Linux without a GPU: PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu' spares gigabytes of CUDA libraries.

PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
SOURCES := setup.cfg pyproject.toml constraints.txt $(shell find mbo_gym agents diffusion -type f -not -path '*/__pycache__/*')
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_ARGS)

.PHONY: run test check docs clean
.DELETE_ON_ERROR:

run: $(VENV)/.installed-run
	$(BIN)/mbo-gym run grad,pgs,matched TFBind8-Exact-v0 --overwrite

test: $(VENV)/.installed-test
	$(BIN)/pytest -n 2

check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -b html docs docs/_build/html
	@echo "The site is docs/_build/html/index.html"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "mbo-gym needs Python 3.10 or newer; $(PYTHON) is older. Try: make run PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-run: $(BIN)/python $(SOURCES)
	$(INSTALL) '.[rl,report]'
	@touch $@

$(VENV)/.installed-test: $(BIN)/python $(SOURCES)
	$(INSTALL) '.[tables,rl,bo,search,report,dev]'
	@touch $@

$(VENV)/.installed-docs: $(BIN)/python $(SOURCES)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make docs needs Python 3.11 or newer. Try: make clean docs PYTHON=python3.12" >&2; exit 1; }
	$(INSTALL) '.[rl,bo,search,report,docs]'
	@touch $@

clean:
	rm -rf $(VENV) build docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache
