# Two commands for readers: `make book` and `make test`. They need Python 3.11 or newer and nothing else.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help book test notebooks pdf results format stamp lock clean

help:
	@echo "make book        run the notebooks whose inputs changed, build the book, say where to open it"
	@echo "make test        everything a change must pass: ruff, pytest, notebooks, book, browser"
	@echo "make pdf         print the book, with its stored outputs, to _build/bedkd.pdf (needs Chromium)"
	@echo "make notebooks   run the notebooks and store their outputs in notebooks/ (before a commit)"
	@echo "make results     write results, ledger, comparison, performance and status of the book from the files in results/"
	@echo "make format      let ruff format and repair"
	@echo "make stamp       carry repository address, version and setup cell everywhere"
	@echo "make lock        make requirements.txt anew from pyproject.toml"
	@echo "make clean       remove what was built, but not the environment"

# uv installs three times faster than pip. torch comes by pip, which knows where this machine keeps
# its builds; a machine whose package index only pip knows falls back to pip for all.
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "bedkd needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ...")'
	@echo "Making .venv and installing requirements.txt: a few minutes, once."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$$(grep '^uv==' requirements.txt)"
	$(BIN)/python -m pip install --quiet --no-deps "$$(grep '^torch==' requirements.txt)"
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --requirement requirements.txt \
	  || $(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

book: $(READY)
	$(BIN)/python tools/run_notebooks.py
	$(BIN)/python tools/build_book.py --executed

# The notebooks run once, under nbval, which compares them with their stored outputs; the book is
# built from those stored outputs.
test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest --ignore=tests/site --numprocesses=2
	$(BIN)/python tools/shared_models.py
	$(BIN)/python -m pytest -p no:cacheprovider --nbval --nbval-cell-timeout=300 \
	  --nbval-sanitize-with=tests/nbval.cfg --durations=10 --numprocesses=2 --dist=loadfile notebooks
	$(BIN)/python tools/build_book.py
	$(BIN)/python -m pytest tests/site --numprocesses=2

notebooks: $(READY)
	$(BIN)/python tools/run_notebooks.py --write

pdf: $(READY)
	$(BIN)/python tools/print_book.py

results: $(READY)
	$(BIN)/python tools/results_page.py
	$(BIN)/python tools/ledger_page.py
	$(BIN)/python tools/comparison_page.py
	$(BIN)/python tools/performance_page.py
	$(BIN)/python tools/status_page.py

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

stamp: $(READY)
	$(BIN)/python tools/stamp.py

# torch keeps its pin unless you change it first: a newer release is a decision, not a side effect.
lock:
	rm -rf _build/lock && $(PYTHON) -m venv _build/lock
	_build/lock/bin/python -m pip install --quiet "$$(grep '^torch==' requirements.txt)" '.[dev]'
	{ grep '^#' requirements.txt; _build/lock/bin/python -m pip freeze --exclude bedkd \
	  | sed 's/+cpu$$//'; } > _build/requirements.txt
	mv _build/requirements.txt requirements.txt && rm -rf _build/lock

clean:
	rm -rf _build .pytest_cache .ruff_cache
