# Two commands do everything on a fresh machine: `make book` and `make test`. `make help` lists the others.
# Needs Python 3.10 or later and make; everything else goes into .venv. Without make:
#     python3 -m tools.environment          (what `make setup` does; --cpu leaves out a GPU's libraries)
#     .venv/bin/python -m tools.build_book  (what `make book` does then)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PORT ?= 8000
CPU ?=
PICTURES ?= 2000
FAULT ?=
WORKERS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadgroup

# CIFAR-10 as a local archive, for machines without a network; a path the reader sets wins.
LOCAL_CIFAR10 := $(wildcard ../shared/cifar10/cifar10-jpeg.tar.xz)
ifneq ($(LOCAL_CIFAR10),)
export DINOV2_EDU_CIFAR10 ?= $(abspath $(LOCAL_CIFAR10))
endif

.DELETE_ON_ERROR:
.PHONY: gone help setup book test unit colab lowest rehearse serve lint format strip address bench constraints clean distclean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## make .venv with everything that book and tests need (CPU=1: without a GPU's libraries)

# A system's Python that was replaced since leaves a .venv that no longer runs.
GONE := $(if $(wildcard $(READY)),$(shell $(BIN)/python -c 'import pip' 2>/dev/null || echo gone))
$(READY): locked.txt requirements.txt constraints.txt pyproject.toml $(GONE)
	@$(PYTHON) -m tools.environment $(if $(CPU),--cpu) --goal "$(or $(firstword $(MAKECMDGOALS)),setup)"
	@touch $@

book: setup ## execute the notebooks, build the book strictly, say where it lies
	$(BIN)/python -m tools.build_book

test: unit book ## all tests: package, book, pages in a browser, notebooks as in Colab
	$(BIN)/python -m tools.browser
	$(PYTEST) -m "browser or slow"

unit: setup ## the tests that need neither the book nor a browser
	$(PYTEST) -m "not browser and not slow"

colab: setup ## run every chapter in the versions that Colab ships (5 GB, in .cache/colab)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m tools.colab
	COLAB=1 $(BIN)/python -m pytest tests/notebooks/test_colab.py

lowest: setup ## run the unit tests in the lowest versions allowed (5 GB, in .cache/lowest)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m tools.lowest
	.cache/lowest/bin/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadgroup -m "not browser and not slow"

rehearse: setup ## publish the book into .cache/rehearsal, with stand-ins for what only a network has (PICTURES=all, FAULT=cut)
	$(BIN)/python -m tools.rehearse $(if $(filter all,$(PICTURES)),,--pictures $(PICTURES)) $(if $(FAULT),--fault $(FAULT))

serve: ## show the built book at http://localhost:8000
	@test -f _build/html/index.html || $(MAKE) book
	@echo "The book is at http://localhost:$(PORT) (Ctrl+C ends it)"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

lint: setup ## check style, types, notebooks and addresses
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tools.notebooks check
	$(BIN)/python -m tools.address --check

format: setup ## bring code and notebooks to the committed form
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	$(BIN)/python -m tools.notebooks strip

strip: setup ## clear the outputs of all notebooks
	$(BIN)/python -m tools.notebooks strip

address: setup ## spread the repository's address from _config.yml, and the release (URL=https://github.com/you/fork: of a fork)
	$(BIN)/python -m tools.address $(URL)

bench: setup ## measure speed beside other libraries (installs them)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	for script in tests/benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

constraints: setup ## renew constraints.txt and locked.txt: the newest set for every Python and system
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m tools.constraints

clean: ## remove what was built; .venv stays
	rm -rf _build build .pytest_cache .ruff_cache .mypy_cache *.egg-info
	find dinov2_edu tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove .venv and Colab's versions as well
	rm -rf $(VENV) .cache
