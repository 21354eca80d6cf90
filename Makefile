# The two commands of a newcomer: `make demo`, then `make test`. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python -m
INSTALL := $(PYTHON) requirements/install.py
UPGRADE ?=
SECONDS ?= 60
COMPILE := .venvs/lock/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-header --no-emit-index-url $(UPGRADE)

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench bench-live bench-sweep bench-scale soak defects lock clean python
.PHONY: install-demo install-all notebooks bench-ml
MAKEFLAGS += --no-print-directory

help:
	@echo "make demo     environment, then the default strategy on real bars: runs/demo/report.html"
	@echo "make test     the rest of the environment, then lint, types, layers and all tests"
	@echo "make lint     lint, types and layers only"
	@echo "make defects  plant each known defect and see that a test catches it"
	@echo "make bench    the event engine beside backtesting.py"
	@echo "make bench-sweep  the sweep beside vectorbt and a hand-written kernel (QUICK=--quick)"
	@echo "make bench-scale  a thousandth of 5,000 symbols' minutes on two Dask workers"
	@echo "make bench-live   a live desk: bar to wire, burst, session, restart, kill (QUICK=--quick)"
	@echo "make notebooks  open the notebooks in JupyterLab"
	@echo "make bench-ml   features, inference and shadow logs beside their goals"
	@echo "make soak     the bus under load (SECONDS=60), 500 desks killed, 10,000 seeds of faults"
	@echo "make lock     write requirements/*.txt anew"
	@echo "make clean    remove caches and runs; the environment stays"

python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "No $(PYTHON) here. Install Python 3.11 or newer, or name it: make PYTHON=/path demo"; \
	  exit 1; }

install-demo: python
	@$(INSTALL) demo

install-all: python
	@$(INSTALL) all

demo: install-demo
	@rm -rf runs/demo
	@$(RUN) mqd backtest sma_cross --data datasets/us_equity_daily_raw.parquet \
	  --symbols AAPL,IBM --engine event --out runs/demo --report

LINT_IMPORTS := $(BIN)/python -c "from importlinter.cli import lint_imports_command as run; run()"

lint: install-all
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy
	@$(LINT_IMPORTS)

test: lint
	@HYPOTHESIS_PROFILE=ci $(RUN) pytest -q -n 3 --dist loadfile --no-loadscope-reorder

defects: install-all
	@$(BIN)/python tests/defects/run_defects.py $(ONLY)

bench: install-all
	@$(BIN)/python bench/run_bench.py

bench-live: install-all
	@$(BIN)/python bench/run_live_bench.py $(QUICK)

bench-sweep: install-all
	@$(BIN)/python bench/run_sweep_bench.py $(QUICK)

bench-scale: install-all
	@$(RUN) bench.sweep_scale

bench-ml: install-all
	@$(RUN) bench.ml_features
	@$(RUN) bench.ml_inference
	@$(RUN) bench.ml_shadow

notebooks: install-all
	@$(RUN) jupyterlab notebooks

soak: install-all
	@MQD_SOAK_S=$(SECONDS) MQD_KILLS=500 MQD_SEEDS=10000 $(RUN) pytest -q tests/soak \
	  tests/simulation

lock: python
	@test -x .venvs/lock/bin/uv || { $(PYTHON) -m venv .venvs/lock && \
	  .venvs/lock/bin/python -m pip install -q --require-hashes -r requirements/lock.txt; }
	@$(COMPILE) pyproject.toml requirements/build.in --extra live --extra ml --extra web \
	  -o requirements/demo.txt
	@$(COMPILE) pyproject.toml requirements/build.in --all-extras -c requirements/demo.txt \
	  -o requirements/all.txt
	@$(COMPILE) requirements/bench-backtesting.in -c requirements/demo.txt \
	  -o requirements/bench-backtesting.txt
	@$(COMPILE) requirements/lock.in -o requirements/lock.txt
	@$(COMPILE) requirements/pip.in -o requirements/pip.txt

clean:
	@rm -rf runs build dist htmlcov .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.venv/*' -not -path './.venvs/*' \
	  -prune -exec rm -rf {} +
