# Stepladder. Every target first sets up what it needs in .venv and says what it does; `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Settings: make setup PYTHON=python3.12 TORCH_OPTIONS="--index-url https://download.pytorch.org/whl/cpu"
PYTHON ?= python3
TORCH_OPTIONS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt

.PHONY: help setup demo test test-learning test-faults test-vllm check bench clean clean-runs chromium chromium-full chromium-driver desktop osworld

help:
	@echo "make setup    a virtual environment in .venv, the packages, Chromium"
	@echo "make demo     the demonstration: train an agent from nothing on this machine, evaluate it, write a report (runs/demo)"
	@echo "make test     the tests"
	@echo "make test-learning   the tests that train for minutes, which make test leaves out: all algorithms, step-level credit, behaviour cloning"
	@echo "make test-faults   the tests in which processes, machines and networks die: an hour, and little else should run"
	@echo "make test-vllm   the tests against a real vLLM server on this machine's processor, in an environment of its own (.venv-vllm)"
	@echo "make check    lint, format and types"
	@echo "make desktop  what pocket desktops need: an X server, a sandbox, a window manager, applications"
	@echo "make osworld  and the further applications of OSWorld's tasks: GIMP, Thunderbird, a sound server and more"
	@echo "make bench    the speed of the browser environment beside Playwright and Gymnasium, which are installed for it"
	@echo "make clean    remove the virtual environments and caches"
	@echo "make clean-runs   remove runs/, with every model and result in it"

setup: .venv/ready chromium
	@echo "== ready: try '$(BIN)/stepladder --help'"

.venv/bin/python:
	@echo "== virtual environment in .venv, with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Stepladder needs Python 3.11 or newer; say which one: make setup PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv \
	  || { rm -rf .venv; echo "Python has no venv module; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

.venv/ready: .venv/bin/python pyproject.toml constraints.txt
	@echo "== packages into .venv (PyTorch first, at the exact version of constraints.txt)"
	@$(PIP) --quiet $(TORCH_OPTIONS) "$$(grep '^torch==' constraints.txt)"
	@$(PIP) --quiet -e ".[browser,bridge,data,desktop,osworld,ray,train,dev]"
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib stepladder || true  # on all cores, unlike pip; some files are of no Python
	@touch $@

chromium: .venv/ready
	@dev/install_chromium.sh $(BIN)/python shell

chromium-full: .venv/ready
	@dev/install_chromium.sh $(BIN)/python full

chromium-driver: .venv/ready
	@dev/install_chromium.sh $(BIN)/python driver

demo: setup
	@echo "== the demonstration, into runs/demo; interrupt it whenever you like, the same command goes on"
	@$(BIN)/stepladder demo

desktop:
	@dev/install_desktop.sh applications

osworld:
	@dev/install_desktop.sh osworld

test: setup chromium-full desktop
	@echo "== tests, two at a time"
	@OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

test-learning: setup
	@echo "== tests that train for minutes, two at a time"
	@OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal -m learning

test-faults: setup chromium-full desktop
	@echo "== tests in which processes, machines and networks die, one at a time"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p no:xdist -m faults

test-vllm: .venv/ready
	@PIP_TORCH="$(TORCH_OPTIONS)" dev/install_vllm.sh .venv-vllm $(PYTHON)
	@echo "== tests against vLLM"
	@STEPLADDER_VLLM=.venv-vllm/bin/vllm $(BIN)/python -m pytest -m vllm -p no:xdist tests/test_vllm.py tests/test_vllm_engine.py

bench: setup chromium-driver
	@echo "== the browser environment beside others, in turns on the same page"
	@$(BIN)/stepladder bench browser

check: .venv/ready
	@echo "== lint"
	@$(BIN)/ruff check .
	@echo "== format"
	@$(BIN)/ruff format --check .
	@echo "== types"
	@$(BIN)/mypy

clean:
	@echo "== removing the virtual environments and caches"
	@rm -rf .venv .venv-vllm build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-runs:
	@echo "== removing runs/, with every model and result in it"
	@rm -rf runs
