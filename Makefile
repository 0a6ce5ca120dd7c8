PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FOLDERS := utils data encoders segmenters engine experiments
TYPES := .mypy_cache/src/encoder_ablations
STAMP := $(VENV)/.installed

.PHONY: demo test lint install clean

install: $(STAMP)

$(STAMP): setup.py
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; say PYTHON=python3.12 make …"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --progress-bar on -e '.[test,dev]'
	touch $(STAMP)

demo: $(STAMP)
	DATASETS_ROOT=datasets $(BIN)/ablate demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p $(TYPES)
	for folder in $(FOLDERS); do ln -sfn $(CURDIR)/$$folder $(TYPES)/$$folder; done
	MYPYPATH=.mypy_cache/src $(BIN)/mypy -p encoder_ablations

clean:
	rm -rf $(VENV) build outputs *.egg-info
