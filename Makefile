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
.PHONY: help setup cluster run demo study test test-slow show sync ui serve play notebook verify bench bench-quick screenshots lint docs hooks dist lock readme

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready  ## make .venv with the locked requirements and this package

.venv/.ready: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit("shiftlab needs Python 3.11 to 3.13, and $(PYTHON) is %d.%d: name another, as in `make setup PYTHON=python3.12`" % v)'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)"
	$(UV) pip install --quiet --require-hashes --python $(BIN)/python -r requirements.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@$(BIN)/python -c "$(USUAL:%=import %;)"
	@touch $@

cluster: .venv/.cluster  ## add to .venv what `shiftlab sweep` and `shiftlab tune` need: Ray and Optuna

.venv/.cluster: requirements-cluster.lock .venv/.ready
	$(UV) pip install --quiet --require-hashes --compile-bytecode --python $(BIN)/python -r requirements-cluster.lock
	@touch $@

run: setup  ## run the pipeline of params.yaml and show the results
	@$(BIN)/python scripts/run.py

demo: setup  ## run the pipeline on the digits in two minutes, leaving the workspace as it is
	@$(BIN)/python scripts/run.py --demo

study: setup  ## train variants of one network, hours long, and decide where invariance comes from; or CHOICES="data=digits"
	@$(BIN)/python scripts/run_study.py $(CHOICES) $(if $(JOBS),--jobs $(JOBS))

test: setup  ## run the test suite
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: setup  ## run the tests that take long
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

show: setup  ## compare DVC's experiments: what was varied, and what came of it
	@$(BIN)/python scripts/show.py

sync: setup  ## log to MLflow what it lacks of the results that Git and DVC hold
	@$(BIN)/python scripts/sync.py

ui: setup  ## open MLflow's pages at http://127.0.0.1:5000, or with PORT=5002 there
	@$(BIN)/python scripts/ui.py $(if $(PORT),--port $(PORT))

serve: setup  ## answer requests with the best trained LeNet, or with MODEL=resnet the best ResNet
	@$(BIN)/python scripts/serve.py $(MODEL) $(if $(PORT),--port $(PORT))

play: setup  ## draw, and see what the best trained models call it; at http://127.0.0.1:7860, or with PORT=7861 there
	@$(BIN)/shiftlab play $(MODELS) $(if $(PORT),--port $(PORT))

notebook: setup  ## run the notebook from top to bottom, and keep it with its outputs
	@$(BIN)/python scripts/run_notebook.py

verify: setup  ## train and predict again what is cheap, or with MODELS=all everything, and compare every byte
	@$(BIN)/python scripts/verify.py $(MODELS)

bench: setup  ## measure speed against the ordinary way, into benchmarks/results.md
	@$(BIN)/python benchmarks/bench.py

bench-quick: setup  ## the same in some seven minutes, less exactly, into benchmarks/quick.md
	@$(BIN)/python benchmarks/bench.py --quick

screenshots: setup  ## keep pictures of MLflow's pages for the README, which needs Chromium
	@$(BIN)/python scripts/screenshots.py

lint: setup  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv-docs/.ready  ## build the documentation as a site, into site/, in an environment of its own
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict
	@echo "The first page is site/index.html"

.venv-docs/.ready: docs/requirements.lock
	@$(PYTHON) -m venv --clear .venv-docs
	@.venv-docs/bin/pip install --quiet --disable-pip-version-check --require-hashes -r docs/requirements.lock
	@touch $@

hooks: setup  ## have each commit checked as `make lint` does, and DVC keep step with git
	@$(BIN)/pre-commit install

dist: setup  ## build the package, as a wheel and from source, into dist/
	@rm -rf build dist
	@$(UV) build --quiet
	@rm -rf build
	@ls dist

lock: setup  ## resolve the requirements anew into requirements.lock
	$(LOCK) --upgrade $(EXTRAS:%=--extra %) --group dev pyproject.toml --output-file requirements.lock
	$(LOCK) --upgrade --extra tune --constraints requirements.lock pyproject.toml --output-file requirements-cluster.lock
	$(LOCK) --upgrade --group docs --output-file docs/requirements.lock

readme: setup  ## write the tables of results and speed into README.md
	@$(BIN)/python scripts/readme.py
