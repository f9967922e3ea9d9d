# Needs Python 3.11, pip, venv, make and a C compiler.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := runs/demo

export PATH := $(CURDIR)/$(BIN):$(PATH)
export TORCH_EXTENSIONS_DIR ?= $(HOME)/.cache/concord/torch_extensions
export DS_BUILD_OPS := 0
export RAY_USAGE_STATS_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: help install browser monitoring hosts demo test long quick lint format reference clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

install: $(INSTALLED) ## make .venv with the tested versions

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -c constraints.txt torch
	$(BIN)/pip install -c constraints.txt -e '.[demo,dev]'
	touch $@

browser: ## Debian's Chromium, which the tests of the report's page drive; they are skipped without it
	command -v chromium || (apt-get update && apt-get install -y --no-install-recommends chromium) || echo "no chromium here"

monitoring: ## Debian's promtool, which the test of Prometheus' config calls; it is skipped without it
	command -v promtool || (apt-get update && apt-get install -y --no-install-recommends prometheus) || echo "no promtool here"

hosts: ## Debian's tools for hosts in network namespaces, which tests/hosts wants, as root; they are skipped without
	(command -v ip && command -v nft && command -v ethtool) || (apt-get update && apt-get install -y --no-install-recommends iproute2 nftables ethtool) || echo "no hosts here"

demo: $(INSTALLED) ## train on the sample data, export the best checkpoint, predict
	$(BIN)/concord train demo --restart
	$(BIN)/concord export $(DEMO)
	$(BIN)/concord predict $(DEMO)/export sst "A gripping story, beautifully told."
	$(BIN)/concord predict $(DEMO)/export quora "How do I learn to swim?" "What is the best way to learn swimming?"
	$(BIN)/concord predict $(DEMO)/export sts "A man is playing a guitar." "A woman is slicing an onion."

# A file's tests stay in one process, since they share what was trained; files begin in the order of the folders, the longest first.
PROCESSES ?= 3
OTHERS := tests/integration tests/distributed tests/golden tests/hosts
PYTEST := $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

# A Ray cluster gives up on what starts too slowly, and its workers are at nice 15: beside them goes only what yields to them.
test: $(INSTALLED) ## every test but those marked long: those on Ray one by one, unit tests beside them, then the others
	@nice -n 19 $(BIN)/python -m pytest -q -m "not ray and not long" tests/unit tests/docs > .unit-tests.log 2>&1 & unit=$$!; \
	trap "kill $$unit; exit 130" INT TERM; \
	$(BIN)/python -m pytest -m "ray and not long"; ray=$$?; \
	wait $$unit; unit=$$?; cat .unit-tests.log; \
	$(PYTEST) -m "not ray and not long" $(OTHERS); others=$$?; \
	exit $$((ray | unit | others))

long: $(INSTALLED) ## the tests marked long, which make test leaves out
	$(BIN)/python -m pytest -m long

quick: $(INSTALLED) ## the fast tests: no lint, no browser, no Ray, no ranks, nothing that trains for long
	$(PYTEST) tests/unit -m "not slow and not ray and not long"
	@echo "quick left out: tests/unit marked slow, long or ray, tests/integration (commands, Ray, sweeps, kills, the browser),"
	@echo "tests/distributed (1, 2 and 3 ranks), tests/hosts, tests/golden and tests/docs. make test runs all of them."

lint: $(INSTALLED) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference: $(INSTALLED) ## write docs/configuration.md from the config models, and the tables of recipes, methods and encoders
	$(BIN)/python -m multitask.config.reference > docs/configuration.md
	$(BIN)/python -m multitask.config.recipe_table docs/recipes.md
	$(BIN)/python -m multitask.config.combination.catalogue docs/methods.md
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m tests.encoder_families docs/encoders.md

clean: ## remove runs, caches and build files, but not .venv
	rm -rf runs wandb build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
