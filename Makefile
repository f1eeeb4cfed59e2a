# Two commands do everything on a machine with Python (3.11 or newer), make and a package index:
#   make demo   installs the package; measures, predicts, judges and reports a real screen into demo/
#   make test   installs the test tools too and checks everything; this is what CI calls
# While you work, `make unit` runs the quick tests alone, in a few minutes on two cores.

CANDIDATES := python3 python3.11 python3.12 python3.13 python3.14
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
# The second environment: newest libraries, no pins. A Python that pyenv keeps off the PATH is found too.
LIGHT_PYTHON ?= $(shell for p in python3.12 "$$(pyenv prefix 3.12 2>/dev/null)/bin/python3.12"; do \
	"$$p" -c 'import venv, ssl' 2>/dev/null && { echo "$$p"; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
LIGHT := .venv-light
INSTALL := -m pip install --quiet --disable-pip-version-check
NOTEBOOKS := $(wildcard tutorials/*.ipynb)
LIGHT_TESTS := $(foreach part,core metrics models pp tl pl ds,$(wildcard tests/$(part)))

export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
# numba, which scanpy uses, would otherwise reset the threads of the whole process at its first parallel kernel
export NUMBA_NUM_THREADS ?= 1

.PHONY: demo test lint types unit every quick tutorials notebooks docs light light-run bench clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

demo unit every quick light-run: export MPLBACKEND ?= agg

demo: $(VENV)/.installed
	$(BIN)/shoal demo -o demo

test: lint types every quick tutorials docs light
	@echo "everything passed"

lint: $(VENV)/.tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tools
	$(BIN)/mypy

unit: $(VENV)/.tools  # the tests that take no more than two seconds each
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow"

every: $(VENV)/.tools  # quick and slow tests in one pool of processes
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

quick: $(VENV)/.tools  # the demo in its quick form, into a folder that is thrown away
	out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && $(BIN)/shoal demo --quick -o "$$out"

tutorials notebooks: export SHOAL_DATA_DIR ?= $(abspath ../shared/data)

tutorials: $(VENV)/.tools  # run every notebook in its fast setting; the notebooks themselves are not changed
	out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && for notebook in $(NOTEBOOKS); do \
		SHOAL_FAST=1 $(BIN)/jupyter-execute --timeout=600 --output="$$out/executed.ipynb" "$$notebook" || exit 1; done

notebooks: $(VENV)/.tools  # run every notebook in full and keep what it shows
	for notebook in $(NOTEBOOKS); do $(BIN)/jupyter-execute --timeout=1800 --inplace "$$notebook" || exit 1; done

docs: $(VENV)/.tools
	rm -rf docs/_build docs/generated
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

light:
ifeq ($(strip $(LIGHT_PYTHON)),)
	@echo "no working python3.12 was found: the environment with the newest libraries is not tested here"
else
	$(MAKE) light-run
endif

light-run: $(LIGHT)/.installed
	$(LIGHT)/bin/python -m pytest -q -n 2 -m "not slow" $(LIGHT_TESTS)
	$(LIGHT)/bin/python -m pytest -q -n 2 tests/test_scanpy.py tests/test_h5ad.py

bench: $(VENV)/.tools
	for script in coherence distance calibration fit_nb_parameters; do $(BIN)/python benchmarks/$$script.py || exit 1; done

clean:
	rm -rf $(VENV) $(LIGHT) demo dist docs/_build docs/generated docs/tutorials .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.installed: pyproject.toml constraints.txt
ifeq ($(strip $(PYTHON)),)
	$(error no Python 3.11 or newer was found; name one with make PYTHON=/path/to/python3)
endif
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) -c constraints.txt -e '.[report]'
	touch $@

$(VENV)/.tools: $(VENV)/.installed
	$(BIN)/python $(INSTALL) -c constraints.txt torch  # first and pinned: any other torch brings gigabytes of CUDA libraries
	$(BIN)/python $(INSTALL) -c constraints.txt -e '.[dev,docs,models,test]'
	touch $@

$(LIGHT)/.installed: pyproject.toml
	$(LIGHT_PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/python $(INSTALL) --upgrade -e '.[test]' igraph  # GPL, so no extra names it; scanpy's leiden needs it
	touch $@
