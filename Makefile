# What a person types. `make demo` and `make test` set themselves up; nothing needs root.
#
#   make demo            the simulated car, live, until Ctrl-C
#   make demo ONCE=1     both stories checked, to their end           STORY=telemetry, lock, install   only one
#   make test            the tests: fast tier, or everything with CI=true
#   make bench           speed and size against baselines     make bench ONLY=A1,B1   only these goals
#   make check           lint, types, import contracts               make lock          refresh requirements.lock

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
STORY ?= all

export PYTHONDONTWRITEBYTECODE = 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench deep check format lock vectors clean

help:
	@sed -n '3,8s/^# *//p' Makefile

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" sh tools/setup.sh "$(VENV)"
	@touch $(STAMP)

demo: $(STAMP)
	@$(BIN)/tbox demo $(if $(ONCE),--once) $(if $(RESET),--reset) --story $(STORY)

test: $(STAMP)
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile $(ARGS)

bench: $(STAMP)
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY)) $(ARGS)

deep: $(STAMP)
	@PART="$(PART)" LIVES="$(LIVES)" FIRST="$(FIRST)" JOBS="$(JOBS)" MINUTES="$(MINUTES)" sh tools/deep.sh "$(BIN)"

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --cache-dir .import_linter_cache
	@sh tools/no_leftovers.sh

format: $(STAMP)
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

vectors: $(STAMP)
	@$(BIN)/python -m protocol.vectors.generate

lock:
	@sh tools/lock.sh "$(VENV)"

clean:
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
