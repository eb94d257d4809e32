# One command for each thing that is done to this repository; `make help` lists them.
# The environment .venv is set up on first use, and again only when pyproject.toml or constraints.txt changed.

# -- what a user may set: make test JOBS=8, make demo TORCH=cuda, ... ----------------------------------------
# Python to build .venv from; the first of these that is 3.11 to 3.13.
PYTHONS ?= python3 python3.13 python3.12 python3.11
VENV ?= .venv
# Test processes.
JOBS ?= 2
# cpu or cuda: which build of PyTorch. A machine whose nvidia-smi lists a GPU gets CUDA, any other the CPU build.
TORCH ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
# Where PyTorch's CPU builds are; used when pip's own find-links hold none.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# make test KERNELS=1: test the optional compiled kernels too (torch-cluster, torch-scatter), never compiling them.
KERNELS ?=
# Where wheels of the kernels are.
KERNEL_WHEELS ?= $(if $(wildcard ../shared/wheels),../shared/wheels,https://data.pyg.org/whl/torch-$(shell $(PYTHON) -c 'import torch; print(torch.__version__)').html)
# What pytest, the demo, the comparison or the study get besides: make test ARGS="tests/ops -x", make compare ARGS="--seeds 3".
ARGS ?=
# What make compare puts beside each other: every shipped recipe of a flavour tagger at small size; the first is the
# reference. paper.toml takes a GPU, tiny.toml is for tests.
COMPARED ?= data/recipes/small.toml $(filter-out %/paper.toml %/small.toml %/tiny.toml data/recipes/task_%,$(sort $(wildcard data/recipes/*.toml)))

TORCH_VERSION := $(shell sed -n 's/^torch==//p' constraints.txt)
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
KERNEL_FOLDER := $(VENV)/kernels
PEERS := $(VENV)/.peers
PIP := $(PYTHON) -m pip --disable-pip-version-check
# Two processes with a thread each beat two with two on small tensors, and give the same order of sums everywhere.
PYTEST := OMP_NUM_THREADS=1 $(if $(KERNELS),PYTHONPATH=$(abspath $(KERNEL_FOLDER))) $(PYTHON) -m pytest -n $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo compare dataset study test test-all package check format docs readme tables constraints environment kernels clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22

demo: $(READY) ## simulate, train, evaluate and draw, into demo/; goes on where it was interrupted
	$(PYTHON) -m panoptag_pyg.cli demo $(ARGS)

# Trained on three processes of the sample; tested on other events of these, and of ZH, never trained on.
COMPARE_TRAIN := $(patsubst %,--data data/sample/%.h5,ttbar single_top ttH)
COMPARE_TEST := $(patsubst %,comparison/events/%.h5,ttbar single_top ttH ZH)

compare: $(READY) $(COMPARE_TEST) ## train every small tagger, put all into one table in comparison/table; goes on where it was interrupted
	$(PYTHON) -m panoptag_pyg.cli compare $(COMPARED) $(COMPARE_TRAIN) --test comparison/events --output comparison/table --workers $(JOBS) $(ARGS)

comparison/events/%.h5: | $(READY)
	$(PYTHON) -m panoptag_pyg.cli simulate --process $* --events 1000 --seed 902 --workers $(JOBS) --subjets --output $@

# The paper's five processes, a folder of shards each, one command per process: simulate goes on where it was stopped.
DATASET_PROCESSES ?= ttbar single_top ttH ZH tW
DATASET_EVENTS ?= 20000
DATASET_SHARDS ?= 10
DATASET_SEED ?= 2026

dataset: $(READY) ## make 100,000 events of five processes in dataset/, a report on them and their data card
	@for process in $(DATASET_PROCESSES); do \
	  $(PYTHON) -m panoptag_pyg.cli simulate --process $$process --events $(DATASET_EVENTS) --shards $(DATASET_SHARDS) \
	    --seed $(DATASET_SEED) --workers $(JOBS) --output dataset/$$process $(ARGS) || exit; done
	$(PYTHON) -m panoptag_pyg.cli inspect --check --card dataset/card.md --overwrite $(DATASET_PROCESSES:%=dataset/%)
	$(PYTHON) -m panoptag_pyg.cli validate $(DATASET_PROCESSES:%=dataset/%) --output dataset/report --overwrite

# A run that fails (code 1) takes nothing from the page but itself.
study: $(READY) ## the paper's claim tested: run what has no record yet, then docs/physics.md; ARGS=--list shows what
	@$(PYTHON) -m panoptag_pyg.benchmarks.study --workers $(JOBS) $(ARGS); code=$$?; \
	  $(if $(findstring --list,$(ARGS)),,[ $$code -gt 1 ] || $(PYTHON) docs/study_tables.py || exit;) exit $$code

test: $(PEERS) $(if $(KERNELS),kernels) ## run the tests that take minutes in all; KERNELS=1: with the compiled kernels
	$(PYTEST) $(ARGS)

test-all: $(PEERS) $(if $(KERNELS),kernels) ## run every test, slow ones too
	$(PYTEST) -m "slow or not slow" $(ARGS)

# The tests look at what was built, and install the wheel where only its dependencies are borrowed from here.
package: $(READY) ## build wheel and sdist into dist/, check them as PyPI does, install and try the wheel
	rm -rf dist
	$(PYTHON) -m build --outdir dist .
	$(PYTHON) -m twine check --strict dist/*
	PANOPTAG_DIST=dist $(PYTHON) -m pytest -m slow tests/test_packaging.py $(ARGS)

check: $(READY) ## lint, formatting, types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy panoptag_pyg cli benchmarks

format: $(READY) ## mend what ruff can mend by itself
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

docs: $(READY) ## build the site into docs/_build/html; a warning is an error
	$(PYTHON) -m sphinx --fail-on-warning --keep-going --quiet --jobs auto -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

readme: $(READY) ## put the demo's measured table and figures into README.md
	$(PYTHON) docs/readme_results.py demo

tables: $(READY) ## put the committed runs, all verbs, networks and process cards into their pages of docs/
	$(PYTHON) docs/cli_tables.py
	$(PYTHON) docs/benchmark_tables.py
	$(PYTHON) docs/comparison_tables.py
	$(PYTHON) docs/network_tables.py
	$(PYTHON) docs/validation_tables.py
	$(PYTHON) docs/tw_tables.py
	$(PYTHON) docs/epoch_tables.py
	$(PYTHON) docs/export_tables.py
	$(PYTHON) docs/process_tables.py
	$(PYTHON) docs/study_tables.py
	$(PYTHON) docs/pretraining_tables.py
	$(PYTHON) docs/latency_tables.py
	$(PYTHON) docs/concept_figures.py

constraints: $(READY) ## move every pin but PyTorch's to the newest release that fits
	$(PIP) install --upgrade --upgrade-strategy eager --prefer-binary 'torch==$(TORCH_VERSION)' --editable '.[all]'
	@{ grep '^#' constraints.txt; { grep -E '^(torch_(cluster|scatter)|weaver-core|pyarrow)==' constraints.txt; \
	  $(PIP) freeze --all --exclude-editable --exclude pip --exclude weaver-core --exclude pyarrow | sed 's/^\(torch==[^+]*\)+.*/\1/'; } | LC_ALL=C sort -f; } > constraints.new
	@mv constraints.new constraints.txt

environment: $(READY) ## only set up .venv

clean: ## remove the environment and everything built; keeps demo/, comparison/ and study/
	rm -rf $(VENV) build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache

# -- the environment -----------------------------------------------------------------------------------------
# .ready is written last and holds the folder it was made for: without it, or in a folder that was moved or
# whose Python is gone, the environment is made anew; with it but older than its inputs, it is brought up to date.
ifneq ($(shell test -x $(PYTHON) && cat $(READY) 2>/dev/null),$(CURDIR))
$(shell rm -f $(READY))
endif

$(READY): pyproject.toml constraints.txt
	@if [ ! -f $@ ]; then \
	  for python in $(PYTHONS); do \
	    if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "Error: no Python 3.11, 3.12 or 3.13 among: $(PYTHONS); install one, or say make PYTHONS=/path/to/python3" >&2; exit 2; fi; \
	  echo "Setting up $(VENV) with $$($$found --version) and PyTorch $(TORCH_VERSION) for $(TORCH); this takes some minutes, once."; \
	  $$found -m venv --clear $(VENV) || { echo "Error: $$found cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }; \
	fi
	@rm -f $@
ifeq ($(TORCH),cpu)
# --no-deps: PyTorch's index is asked for PyTorch alone, the rest comes with the next command. Neither of the two
# can bring PyPI's CUDA build: the first sees only local files, and of two equal versions pip prefers "+cpu".
	@$(PIP) install -qq --no-deps --no-index torch==$(TORCH_VERSION)+cpu 2>/dev/null \
	  || $(PIP) install -q --no-deps --index-url $(TORCH_INDEX) torch==$(TORCH_VERSION)
else
	$(PIP) install -qq torch==$(TORCH_VERSION)
endif
	$(PIP) install -qq --prefer-binary --constraint constraints.txt --editable '.[all]'
	@rm -rf $(KERNEL_FOLDER)
	@printf '%s' '$(CURDIR)' > $@

# Implementations that ours are held to in the tests, and Parquet. weaver-core's networks need nothing but torch and
# NumPy, its training much that nobody here needs: no dependencies.
$(PEERS): $(READY)
	@$(PIP) install -qq --no-deps --constraint constraints.txt weaver-core pyarrow
	@touch $@

# The kernels lie beside the environment, on PYTHONPATH only when asked for, so that both ways stay testable.
kernels: $(KERNEL_FOLDER) ## only fetch the compiled kernels' wheels
$(KERNEL_FOLDER): $(READY)
	@rm -rf $@
	@$(PIP) install -qq --no-deps --only-binary :all: --constraint constraints.txt --find-links $(KERNEL_WHEELS) \
	  --target $@ torch-cluster torch-scatter \
	  || { echo "Error: no wheels of torch-cluster and torch-scatter for this Python and PyTorch $(TORCH_VERSION) in $(KERNEL_WHEELS); say make test KERNELS=1 KERNEL_WHEELS=FOLDER_OR_PAGE" >&2; exit 2; }
	@touch $@
