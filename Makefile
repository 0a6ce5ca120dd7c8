PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FOLDERS := utils data encoders segmenters engine experiments
TYPES := .mypy_cache/src/encoder_ablations
STAMP := $(VENV)/.installed

.PHONY: demo test lint install clean

install: $(STAMP)

$(STAMP): setup.py
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ". Say for example: make PYTHON=python3.12 demo")'
	@echo "Installing into $(VENV). PyTorch with its CUDA libraries is about 5 GB; this takes some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[test,dev]'
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
