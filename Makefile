# Set-up, checks and the main job. `make help` lists the goals.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
WHEEL_VENV ?= .venv-wheel
# One thread a process: measured trials then repeat to every printed digit, and two tests side by side do not fight.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM := false
# Python keeps what it has compiled, whatever the environment says: importing torch and its companions then takes a third.
unexport PYTHONDONTWRITEBYTECODE
# What depends on precision, for `test-precision`.
PRECISION := tests/training tests/recovery tests/model tests/pruning tests/evaluation tests/proxies tests/planning tests/measure/test_fine_tune.py \
	tests/test_named_models.py tests/test_runtime.py tests/test_doctor.py tests/pipeline/test_preparation.py \
	tests/pipeline/test_measurement.py tests/pipeline/test_experiment.py
# Saving and merging of each method is PEFT's and in float32: `make test` is enough for it.
PRECISION += --ignore=tests/recovery/test_methods.py --ignore=tests/recovery/test_method_combinations.py

.DEFAULT_GOAL := help
.PHONY: help install quickstart bench benchmark test test-precision evidence soak check lint types readme wheel clean

help: ## list the goals
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

install: $(STAMP) ## create .venv and install everything

$(STAMP): pyproject.toml third_party/learn2learn/pyproject.toml third_party/learn2learn/build_core.py
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: give one with make PYTHON=python3"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing packages (about 3 GB on disk, 2 to 5 minutes)"
	$(BIN)/python -m pip install --no-compile ./third_party/learn2learn -e ".[meta,quantised,deploy,test]"
	@# So that every command starts fast from the first time on, for users who do not let Python keep bytecode too.
	$(BIN)/python -c "import rankadaptor.cli.tables, rankadaptor.planning, rankadaptor.pipeline, rankadaptor.tracking, mlflow, lm_eval.evaluator"
	@touch $@

quickstart: $(STAMP) ## the main job on a real model: compress it to 60 MB, recover it, write a file that runs, compare it
	$(BIN)/rankadaptor run experiments/quickstart/run.yaml

bench: $(STAMP) ## speed, memory and cost of the trial engine, into experiments/results/engine.json and docs/engine.md (20 minutes)
	$(BIN)/python -m experiments.bench

test: $(STAMP) ## all tests (the first time this downloads the kit, about 330 MB)
	$(BIN)/python -m pytest -q -n 2 --dist loadscope --durations=10

test-precision: $(STAMP) ## what depends on precision, as on a processor of the other kind than this one (2 minutes)
	@other="from rankadaptor.runtime import has_native_bfloat16 as native; print('emulated' if native() else 'native')"; \
	answers="$${ANSWERS:-$$($(BIN)/python -c "$$other")}"; [ -n "$$answers" ] || exit 1; \
	for answer in $$answers; do echo "bfloat16 as if $$answer"; RANKADAPTOR_BFLOAT16=$$answer \
	  $(BIN)/python -m pytest -q -n 2 --dist loadscope -m "not kit and not slow and not soak" $(PRECISION) || exit 1; done

soak: $(STAMP) ## the long tests: runs killed at random points, a cluster that loses a node (a quarter of an hour)
	$(BIN)/python -m pytest -q -m soak --durations=0

wheel: $(STAMP) ## build the wheel, install it into an environment of its own, run a small job with it from an empty folder
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .
	$(BIN)/python -m venv --clear --without-pip $(WHEEL_VENV)
	$(BIN)/python -m pip --python $(WHEEL_VENV)/bin/python install --quiet --disable-pip-version-check --no-deps --no-index --ignore-installed dist/*.whl
	@# The other packages are shared; a .pth file does not run those beside them, so this checkout stays out of reach.
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
	  > $$($(WHEEL_VENV)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/shared.pth
	RANKADAPTOR_WHEEL=$(abspath $(WHEEL_VENV)) $(BIN)/python -m pytest -q -m wheel --durations=5 tests/wheel

check: lint types test ## what CI runs

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

readme: $(STAMP) ## generate the figures of README and docs/what-to-expect.md from the kept results
	$(BIN)/python -m experiments.quickstart
	$(BIN)/python -m experiments.expectations
	$(BIN)/python -m experiments.frontier --into docs/compress.md
	$(BIN)/python -m experiments.compare experiments/compare/short.yaml --into docs/what-to-expect.md
	$(BIN)/python -m experiments.smaller experiments/smaller/smaller.yaml --into docs/what-to-expect.md
	$(BIN)/python -m experiments.predictors --into docs/what-to-expect.md
	$(BIN)/python -m experiments.bench.page
	$(BIN)/python -m experiments.quickstart.curves --only-write
	$(BIN)/python -m experiments.predictors.proposals --only-write

evidence: $(STAMP) ## generate docs/evidence.md, its tables and figures, from meta_data/
	$(BIN)/python -m experiments.evidence --corpus meta_data --into docs/evidence.md

benchmark: $(STAMP) ## judge all predictors on the corpus, into docs/predictors.md and docs/what-to-expect.md (an hour)
	$(BIN)/python -m experiments.predictors
	$(BIN)/python -m experiments.predictors --no-siblings --output experiments/results/predictors-other-models.json
	$(BIN)/python -m experiments.predictors --into docs/predictors.md
	$(BIN)/python -m experiments.predictors --output experiments/results/predictors-other-models.json --into docs/predictors.md
	$(BIN)/python -m experiments.predictors --into docs/what-to-expect.md

clean: ## remove the environment and caches (not the kit, not results)
	rm -rf $(VENV) $(WHEEL_VENV) dist .mypy_cache .ruff_cache .pytest_cache build *.egg-info
