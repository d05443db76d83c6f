# Everything that is done with a clone. A stamp in .venv keeps what is installed from being installed again
# until pyproject.toml changes.

PYTHON ?= python3
PORT ?= 10642
MINUTES ?= 10

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo check test bench soak abuse dashboards docs lock chart screenshots clean lint

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  PYTHON=$(PYTHON) makes $(VENV); the demo listens on PORT=$(PORT).'

demo: $(VENV)/.runtime ## Run the exporter against a simulated tenant
	@$(BIN)/cortex-xdr-exporter --demo --web.listen-address=127.0.0.1:$(PORT)

check: lint ## Lint, check types and run the unit tests: the quick part of make test
	@$(BIN)/python -m pytest -q --numprocesses=logical --dist=loadscope tests/unit

test: ## Install what tests need, then check everything, with coverage: what CI runs
	@PYTHON='$(PYTHON)' .ci/packages
	@PYTHON='$(PYTHON)' .ci/helm
	@$(MAKE) --no-print-directory lint
	@$(BIN)/python -m pytest -q --cov --cov-report=term

bench: $(VENV)/.dev ## Measure the exporter beside its peers in about 20 minutes; ONLY=scrape,start measures a part
	@PYTHON='$(PYTHON)' .ci/packages peers
	@PYTHONPATH=tests $(BIN)/python -m benchmarks.campaign $(if $(ONLY),--only=$(ONLY)) $(if $(JSON),--json=$(JSON)) \
		$(if $(PLOT),--plot=$(PLOT))

soak: $(VENV)/.dev ## Inject faults by chance for MINUTES=10, then check that every metric is true; SEED= repeats a run
	@PYTHONPATH=tests $(BIN)/python -m soak.campaign --minutes=$(MINUTES) $(if $(SEED),--seed=$(SEED))

abuse: $(VENV)/.dev ## Attack the exporter with hostile clients, and hold what it does against bounds; CASES=drip,idle runs some
	@PYTHONPATH=tests $(BIN)/python -m abuse.campaign $(if $(CASES),--only=$(CASES)) $(if $(JSON),--json=$(JSON))

dashboards: $(VENV)/.dev ## Write the Grafana dashboards in the chart's files anew, after a change of helm/dashboards
	@PYTHONPATH=helm $(BIN)/python -m dashboards

chart: $(VENV)/.dev ## Write the chart's README, and the renderings that tests expect, anew, after a change of it
	@PYTHON='$(PYTHON)' .ci/helm
	@PYTHONPATH=helm $(BIN)/python -m chart_docs
	@PYTHONPATH=tests $(BIN)/python tests/golden.py

docs: $(VENV)/.dev ## Write docs/configuration.md anew, after a change of the configuration's models
	@PYTHONPATH=tests $(BIN)/python tests/configuration_document.py

lock: $(VENV)/.dev ## Lock the newest versions that pyproject.toml allows, for the image
	@.ci/lock .ci --upgrade

screenshots: $(VENV)/.dev ## Take the pictures of the status page in docs/images, of the demo, with Chromium
	@PYTHONPATH=tests $(BIN)/python tests/screenshots.py docs/images

clean: ## Remove the virtual environment and whatever tools left behind
	@rm -rf $(VENV) .cache build dist *.egg-info .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

lint: $(VENV)/.dev
	@$(BIN)/ruff check --quiet --output-format=concise
	@$(BIN)/ruff format --check --quiet || { echo 'Not formatted: run $(BIN)/ruff format'; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/hadolint Dockerfile

# A virtual environment whose pip is missing was left by an attempt that failed.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
		"Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + ": set PYTHON=")'
	@echo 'Making $(VENV)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml | $(BIN)/pip
	@echo 'Installing the exporter into $(VENV)'
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/pip
	@echo 'Installing the exporter and what its tests need into $(VENV)'
	@$(PIP) --editable '.[dev]'
	@touch $(VENV)/.runtime $@
