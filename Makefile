# nightboard: everything a user or a contributor runs, in a virtual environment of its own (.venv).
# Works with GNU make on Linux and macOS. Another interpreter: make demo PYTHON=python3.12
# Without a GPU on Linux, PyPI's torch brings gigabytes of CUDA libraries that nothing uses; the small build of the same
# version is taken when PIP_EXTRA_INDEX_URL names PyTorch's own index of CPU builds.

PYTHON ?= python3
TORCH ?= 2.13.0
PYTEST_ARGS ?=
ONLY ?=
STEPS ?=
SOAK_MIN ?= 10
SOAK_SEED ?=
NODES ?= 3
GPUS ?= 4

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ROOMS := flows profiles tasks warehouse
TYPING := build/typing

# Each job is a process of its own, and would compile torch again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check docs page-assets bench soak slurm-up slurm-down lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: .venv/.installed-demo ## install, then run the flow twice on small models, without a GPU and without the Hub
	@$(BIN)/nightboard demo

# Three at a time, for two cores: the tests on a SLURM, which mostly wait, beside all others.
test: .venv/.installed-dev ## run all tests; PYTEST_ARGS="-m 'not real'" for the fast ones
	@$(BIN)/python -m pytest -n 3 --dist loadscope $(PYTEST_ARGS)

# The tools see the packages under the names they have when installed.
$(TYPING): Makefile
	@rm -rf $@ && mkdir -p $@/nightboard
	@for room in $(ROOMS); do ln -s ../../../$$room $@/nightboard/$$room; done

# Every tool runs, whatever the one before found; the target fails if any of them did.
check: .venv/.installed-dev $(TYPING) ## ruff, mypy --strict, import-linter, docs, sqlfluff; STEPS="mypy docs" for some of them
	@failed="" ran=""; \
	step() { \
		name="$$1"; shift; \
		case " $(STEPS) " in "  " | *" $$name "*) ran=yes ;; *) return ;; esac; \
		if "$$@" >build/check.log 2>&1; then echo "$$name: ok"; \
		else echo "$$name: failed"; sed 's#^$(TYPING)/nightboard/##' build/check.log; failed="$$failed $$name"; fi; \
	}; \
	step ruff-check $(BIN)/ruff check .; \
	step ruff-format $(BIN)/ruff format --check .; \
	step mypy env MYPYPATH=$(TYPING) $(BIN)/mypy $(ROOMS:%=-p nightboard.%); \
	step import-linter env PYTHONPATH=$(TYPING) $(BIN)/lint-imports; \
	step docs $(BIN)/python -m nightboard.warehouse.dictionary --check docs/tables.md; \
	step sqlfluff $(BIN)/sqlfluff lint --nocolor --disable-progress-bar warehouse; \
	if [ -z "$$ran" ]; then echo "make check: no step is called $(STEPS)" >&2; exit 2; fi; \
	if [ -n "$$failed" ]; then echo "make check failed:$$failed" >&2; exit 1; fi

docs: .venv/.installed-dev ## write the data dictionary docs/tables.md from the schema
	@$(BIN)/python -m nightboard.warehouse.dictionary docs/tables.md

page-assets: ## build the page's script and style from tasks/page/frontend (node and npm)
	@cd tasks/page/frontend && npm ci --ignore-scripts --no-audit --no-fund && npm run check && npm run build

bench: .venv/.installed-dev ## measure; prints one row per measurement; ONLY=plan,rank for some
	@$(BIN)/python tests/bench/run.py $(ONLY)

soak: .venv/.installed-dev ## ten minutes of kills on a real SLURM (slurm-up first), then every score must be there once; SOAK_MIN=3 SOAK_SEED=7
	@PYTHONPATH=$(CURDIR)/tests:$(CURDIR)/tests/support SOAK_MIN=$(SOAK_MIN) SOAK_SEED=$(SOAK_SEED) $(BIN)/python -m slurm.soak

slurm-up: ## start a real SLURM on this machine for the tests (root, Debian's packages); NODES=38 GPUS=8 for a large one
	@$(PYTHON) tests/slurm/cluster.py up --nodes $(NODES) --gpus $(GPUS)

slurm-down: ## end it, with its jobs
	@$(PYTHON) tests/slurm/cluster.py down

lock: .venv/bin/python ## resolve all extras again (TORCH=x.y.z keeps the build that pip finds everywhere) into requirements.lock
	@echo "Resolving every extra in a fresh environment ..."
	@mkdir -p build && rm -rf build/lock-venv && $(PYTHON) -m venv build/lock-venv
	@build/lock-venv/bin/python -m pip install --quiet --upgrade pip >build/lock.log 2>&1 \
		&& build/lock-venv/bin/python -m pip install --quiet --no-compile "torch==$(TORCH)" '.[dev]' >>build/lock.log 2>&1 \
		|| { cat build/lock.log >&2; exit 1; }
	@{ echo "# Every package of every extra, as constraints for pip: pip install -c requirements.lock -e '.[demo]'"; \
		echo "# Made by 'make lock': pip's own freeze of a fresh environment with the dev extra, without nightboard, local"; \
		echo "# version suffixes (torch +cpu) and the libraries that only torch's CUDA build brings. Do not edit by hand."; \
		build/lock-venv/bin/python -m pip list --format=freeze 2>/dev/null \
			| grep -v -i -E '^(nightboard|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==' | sed 's/+.*$$//' | LC_ALL=C sort -f; \
	} >requirements.lock.new && mv requirements.lock.new requirements.lock
	@rm -rf build/lock-venv && echo "requirements.lock: $$(grep -c == requirements.lock) packages"

clean: ## remove the environment and everything that was built; stores are kept
	@rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find $(ROOMS) tests -name __pycache__ -type d -prune -exec rm -rf {} +

# -------------------------------------------------------------------------------------------------- installation

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null 2>&1 \
		|| { echo "$(PYTHON) was not found. Install Python 3.11 or newer, or name one: make demo PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$$($(PYTHON) -V) is too old, 3.11 or newer is needed. Name another one: make demo PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) lacks venv or pip. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) -V) ..."
	@$(PYTHON) -m venv .venv

# The newest pip installs a third faster. Byte code is left to the first import: most of it is never run.
define INSTALL
	@echo "Installing nightboard[$(1)] into .venv (one to two minutes, more on a slow line) ..."
	@{ $(PIP) install --quiet -c requirements.lock --upgrade pip \
		&& $(PIP) install --quiet --no-compile -c requirements.lock -e '.[$(1)]'; } >.venv/install.log 2>&1 \
		|| { cat .venv/install.log >&2; echo "The installation failed: see pip's messages above, then run 'make $(2)' again." >&2; exit 1; }
	@touch $@
endef

.venv/.installed-demo: pyproject.toml requirements.lock | .venv/bin/python
	$(call INSTALL,demo,demo)

.venv/.installed-dev: pyproject.toml requirements.lock | .venv/bin/python
	$(call INSTALL,dev,test)
	@touch .venv/.installed-demo
