# One command per job; `make` alone lists them.  Everything is set up on first use.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help sim test lint format types tests wheel clean

help:  ## List the targets
	@sed -n 's/^\([.a-z]*\):.*##  *\(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

sim: .venv/sim.stamp  ## Watch a simulated robot learn to walk (options: ARGS="--help")
	$(BIN)/robosac sim $(ARGS)

test: lint types tests wheel  ## Everything that CI checks

lint: .venv/dev.stamp  ## Lint and check the format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: .venv/dev.stamp  ## Format, and fix what can be fixed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: .venv/dev.stamp  ## Check types, sources and tests
	$(BIN)/mypy

tests: .venv/dev.stamp  ## Run the tests (options: ARGS="-k safety")
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

wheel: .venv/dev.stamp  ## Build the wheel and try it in a bare environment
	$(BIN)/python tools/smoke_wheel.py

.venv: .venv/dev.stamp  ## Set up the environment and nothing else

clean:  ## Remove the environment and everything built; runs/ stays
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find robots sim robosac tests tools -name __pycache__ -exec rm -rf {} +

# A stamp is written when its extras are installed completely, so that an interrupted set-up is
# taken up again and a change of the requirements is noticed.  What dev brings includes sim.
.venv/sim.stamp: EXTRAS := learn,sim
.venv/dev.stamp: EXTRAS := learn,sim,fleet,dev
.venv/%.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	@echo "Installing robosac[$(EXTRAS)]; this takes a minute or a few ..."
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[$(EXTRAS)]'
	@touch .venv/sim.stamp $@
