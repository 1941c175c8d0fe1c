# Everything a user types. `make` alone lists it.

PYTHON ?= python3
MODEL ?= lenet
BIN := .venv/bin
UV := $(BIN)/uv
LOCK := $(UV) pip compile --quiet --universal --generate-hashes --no-header
# What every stage imports: compiled by `make setup`, in half the time that all of it would take. The rest is compiled when
# it is first imported, which has to be written, or each process would do it anew.
unexport PYTHONDONTWRITEBYTECODE
USUAL := dvc.commands.repro dvc.repo matplotlib.figure mlflow.models mlflow.pytorch pandas scipy.optimize scipy.stats sklearn.datasets sklearn.metrics statsmodels.stats.multitest torch._dynamo torchvision.datasets torchvision.models
EXTRAS := onnx pipeline play timm torchmetrics # what `make setup` installs; the others are heavy, and for few

.DEFAULT_GOAL := help
.PHONY: help setup cluster run reproduce restore demo study test test-slow show sync ui serve play notebook verify bench screenshots lint docs hooks dist lock readme

##@ Start

run: setup  ## answer the question in minutes, on MNIST if it can be had
	@$(BIN)/python scripts/run.py $(if $(JOBS),--jobs $(JOBS))

demo: setup  ## the same on scikit-learn's digits, in a copy
	@$(BIN)/python scripts/run.py --demo

test: setup  ## run the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

help:  ## list the commands
	@awk -F ':.*## ' '/^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Look

play: setup  ## draw a digit: what do the models predict? (PORT=7861)
	@$(BIN)/shiftlab play $(MODELS) $(if $(PORT),--port $(PORT))

ui: setup  ## open MLflow's pages of all runs (PORT=5002)
	@$(BIN)/python scripts/ui.py $(if $(PORT),--port $(PORT))

show: setup  ## compare DVC's experiments
	@$(BIN)/python scripts/show.py

notebook: setup  ## run the notebook, and keep its outputs
	@$(BIN)/python scripts/run_notebook.py

serve: setup  ## answer requests with the best LeNet (MODEL=resnet)
	@$(BIN)/python scripts/serve.py $(MODEL) $(if $(PORT),--port $(PORT))

##@ Experiment

reproduce: setup  ## make all that README's tables say, in hours (JOBS=4)
	@$(BIN)/python scripts/run.py --everything $(if $(JOBS),--jobs $(JOBS))

restore:  ## bring the committed params.yaml and results back
	@git restore params.yaml dvc.lock metrics plots reports

study: setup  ## decide where invariance comes from, in hours (CHOICES=...)
	@$(BIN)/python scripts/run_study.py $(CHOICES) $(if $(JOBS),--jobs $(JOBS))

cluster: .venv/.cluster  ## install Ray and Optuna, for `shiftlab sweep` and `tune`

.venv/.cluster: requirements-cluster.lock .venv/.ready
	$(UV) pip install --quiet --require-hashes --compile-bytecode --python $(BIN)/python -r requirements-cluster.lock
	@touch $@

sync: setup  ## log to MLflow the results that it lacks
	@$(BIN)/python scripts/sync.py

verify: setup  ## train again, and compare every byte (MODELS=all)
	@$(BIN)/python scripts/verify.py $(MODELS)

##@ Maintain

setup: .venv/.ready  ## make .venv with the locked requirements

.venv/.ready: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit("shiftlab needs Python 3.11 to 3.13, and $(PYTHON) is %d.%d: name another, as in `make setup PYTHON=python3.12`" % v)'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)"
	$(UV) pip install --quiet --require-hashes --python $(BIN)/python -r requirements.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@$(BIN)/python -c "$(USUAL:%=import %;)"
	@touch $@

lint: setup  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-slow: setup  ## run the tests that take long
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

bench: setup  ## measure what a user waits for, in eight minutes
	@$(BIN)/python benchmarks/bench.py

docs: .venv-docs/.ready  ## build the documentation as a site, into site/
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict
	@echo "The first page is site/index.html"

.venv-docs/.ready: docs/requirements.lock
	@$(PYTHON) -m venv --clear .venv-docs
	@.venv-docs/bin/pip install --quiet --disable-pip-version-check --require-hashes -r docs/requirements.lock
	@touch $@

readme: setup  ## write the generated tables into README.md and docs/
	@$(BIN)/python scripts/readme.py

screenshots: setup  ## keep pictures of MLflow's pages, with Chromium
	@$(BIN)/python scripts/screenshots.py

hooks: setup  ## check each commit as `make lint` does
	@$(BIN)/pre-commit install

dist: setup  ## build the package into dist/
	@rm -rf build dist
	@$(UV) build --quiet
	@rm -rf build
	@ls dist

lock: setup  ## resolve the requirements anew
	$(LOCK) --upgrade $(EXTRAS:%=--extra %) --group dev pyproject.toml --output-file requirements.lock
	$(LOCK) --upgrade --extra tune --constraints requirements.lock pyproject.toml --output-file requirements-cluster.lock
	$(LOCK) --upgrade --group docs --output-file docs/requirements.lock
