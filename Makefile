PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGE := .package
STAMP := $(VENV)/.installed
# mypy and mkdocstrings find modules by their place in a folder: they are given the package as it is installed
COPY_PACKAGE = rm -rf $(PACKAGE) && $(BIN)/python setup.py -q build_py --build-lib $(PACKAGE)

.PHONY: demo test test-slow bench bench-gpu bench-scaling lint docs install clean

install: $(STAMP)

$(STAMP): setup.py
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ". Say for example: make PYTHON=python3.12 demo")'
	@echo "Installing into $(VENV). PyTorch with its CUDA libraries is about 5 GB; this takes some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[demo,test,dev,docs]'
	touch $(STAMP)

demo: $(STAMP)
	DATASETS_ROOT=datasets $(BIN)/ablate demo

# two processes share the cores: more threads in each would wait for one another
TEST = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test: $(STAMP)
	$(TEST)

test-slow: $(STAMP)
	$(TEST) -m slow

# waiting threads of OpenMP do not spin, as in every command of ablate
bench: $(STAMP)
	GOMP_SPINCOUNT=1000 $(BIN)/python tests/benchmarks $(ARGS)

bench-scaling: $(STAMP)
	GOMP_SPINCOUNT=1000 $(BIN)/python tests/benchmarks scaling $(ARGS)

bench-gpu: $(STAMP)
	$(BIN)/python tests/benchmarks/bench_gpu.py $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(COPY_PACKAGE)
	$(BIN)/mypy

# not --quiet: mkdocs then counts no warnings, and a strict build passes whatever is broken
docs: $(STAMP)
	$(COPY_PACKAGE)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) $(PACKAGE) build site outputs *.egg-info
