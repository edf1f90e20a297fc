# The commands: `make demo`, `make play` and `make test`. All set up everything they need in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo play test check format clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.installed  ## generate a video with the embedded model: outputs/demo.mp4
	$(BIN)/gamecraft generate --image village --actions "w 1.5s, w+d 1s, right 1s, w 1.5s, a 1s, left 1s" \
		--seed 7 --output outputs/demo.mp4
	@echo "Watch outputs/demo.mp4; outputs/demo.png shows frames with the keys pressed."

play: $(VENV)/.installed  ## play in the browser
	$(BIN)/gamecraft play

test: $(VENV)/.tested-with  ## all tests, on tiny CPU configurations
	$(BIN)/pytest

check: $(VENV)/.tested-with  ## format, lint, types
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

format: $(VENV)/.tested-with
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

clean:
	rm -rf $(VENV) outputs build

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "gamecraft needs Python 3.11 or newer; choose one with: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.tested-with: $(VENV)/.installed
	@sh scripts/system-packages
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@
