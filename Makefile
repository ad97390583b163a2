# Everything a newcomer needs: `make repro`, `make test`. `make help` lists the rest.

PYTHON ?= python3
PORT ?= 5000
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)
# Tests that load no TensorFlow and run no stage.
QUICK := $(addprefix tests/,test_house.py test_params.py test_settings.py test_variants_command.py test_files.py \
  test_locks.py test_threads.py test_stage.py runtime data/archives data/images data/intake) \
  $(addprefix tests/evaluation/,test_evaluation.py test_mistakes.py test_sizes.py)
# GPU=1 takes TensorFlow with NVIDIA's libraries; GPU=, GPU=0 and no GPU take it without.
LOCK := requirements$(if $(filter-out 0,$(GPU)),-gpu).lock
# The environment is as the lock file says, in this folder; anything else is rebuilt.
REPAIR := cvd/runtime/bookkeeping/cvd.pth
MADE_FROM := { echo '$(CURDIR)'; cat pyproject.toml $(LOCK) $(REPAIR); }
# Vega, which draws the charts of DVC's page (.dvc/page.html). 5.21 is the Vega-Lite of .dvc/plots and of DVC's templates.
CHARTS := python -c 'import vl_convert as v; print("(() => {" + v.javascript_bundle(vl_version="5.21") + "})();")' \
  > $(VENV)/charts.js
RESOLVE := uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --upgrade \
  --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet

.DEFAULT_GOAL := help
.PHONY: help repro photos photos-all cures reset check test torture story lint format ui docs pictures bench lock clean venv

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

repro: venv ## build everything that is not up to date: data, networks, pictures, report; GPU=1 on a GPU
	@dvc repro

photos: venv ## the same on 2,000 real photos to train on, 1,000 to validate, 1,000 to test: DATA=, a zip, tar or folder
	@cvd run settings/photos.yaml "$$DATA" $(ARGS)

photos-all: venv ## the same on all real photos that there are in DATA=
	@cvd run settings/photos-all.yaml "$$DATA" $(ARGS)

cures: venv ## train each cure of over-fitting alone, and compare them: ten to twenty minutes
	@cvd add --no-pictures too_small baseline_half small l2 dropout_only augmented_only && dvc repro

reset: venv ## go back to your last commit: code, parameters, data; what that drops is kept in a git stash
	@if git diff --quiet HEAD; then echo "Nothing differs from your last commit"; else \
	  echo "Dropped, and kept in a git stash (git stash pop brings it back):"; \
	  git diff --stat HEAD && git stash push --quiet --message "make reset"; fi
	@dvc checkout --force >/dev/null \
	  || { echo "DVC's cache lacks the files above: dvc repro makes them" >&2; exit 1; }

check: venv ## the linters and the quick tests, in under a minute: before each commit
	@ruff check . && ruff format --check . && mypy && oxlint --deny-warnings cvd && pytest -n 2 --dist loadfile $(QUICK)

test: venv ## run the tests, a file on each core
	@pytest -n auto --maxprocesses=4 --dist loadfile --no-loadscope-reorder

story: venv ## test that the default run tells its story from three seeds; ten minutes or more
	@pytest -m story

torture: venv ## signals, hostile files, sick servers: what breaks, as a table; MINUTES= at most, an hour by itself
	@PYTHONPATH=.:tests:tests/data python tests/torture.py $(or $(MINUTES),60)

lint: venv ## check style, imports and types
	@ruff check . && ruff format --check . && mypy && oxlint --deny-warnings cvd

format: venv ## lay out the code and mend what can be mended
	@ruff check --fix . && ruff format .

ui: venv ## browse and compare the runs in MLflow on 127.0.0.1; PORT= changes the port, EXPERIMENT= shows one
	@test -n "$$MLFLOW_TRACKING_URI" -o -f mlflow.db || { echo "error: there are no runs yet: make repro" >&2; exit 2; }; \
	page=$$(cvd runs --page $(EXPERIMENT)) || exit 2; \
	case "$$MLFLOW_TRACKING_URI" in http*) echo "Curves and gaps: $${MLFLOW_TRACKING_URI%/}$$page"; exit ;; esac; \
	echo "Curves and gaps: http://127.0.0.1:$(PORT)$$page"; \
	echo "Ctrl-C ends the server"; \
	MLFLOW_DISABLE_TELEMETRY=true exec mlflow ui --host 127.0.0.1 --port $(PORT) \
	  --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" --default-artifact-root mlartifacts

docs: venv ## build the pages of docs/ into a site, offline: site/docs/index.html; a link to nowhere fails
	@sphinx-build --quiet --fail-on-warning --keep-going -j auto -c docs . site && echo "site/docs/index.html"

pictures: venv ## make the pictures of docs/ again, from the outputs of a default run; MLflow's page needs Chromium
	@PYTHONPATH=.:tests python tests/pictures.py

bench: venv ## time the parts side by side with what people use today; a quarter of an hour
	@python -m benchmarks

lock: venv ## resolve the dependencies of pyproject.toml anew, without and with NVIDIA's libraries
	@$(RESOLVE) --output-file requirements.lock
	@$(RESOLVE) --extra gpu --constraint requirements.lock --output-file requirements-gpu.lock

clean: ## remove the environment, caches, half-done trainings and downloads; data, runs and results stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info .cvd/training .cvd/downloads
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	@$(MADE_FROM) | cmp -s - $(VENV)/made-from || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "error: $(PYTHON) is $$($(PYTHON) -V 2>&1), but Python 3.11 or newer is needed: make PYTHON=python3.11 ..." >&2; exit 2; }; \
	  echo "Setting up $(VENV) from $(LOCK): a minute or two, once"; \
	  $(PYTHON) -m venv --clear $(VENV) \
	    && pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK) \
	    && pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . \
	    && cp $(REPAIR) "$$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	    && $(CHARTS) \
	    && $(MADE_FROM) > $(VENV)/made-from; }

$(VENV)/charts.js:
	@mkdir -p $(@D) && $(CHARTS)
