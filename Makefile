# Everything a fresh machine with Python 3.11 or newer needs: `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
DATA ?= ../shared/data

.PHONY: demo test check bench soak clean

demo: $(READY)
	rm -rf demo-run
	$(BIN)/python -m mergeit_async run examples/instructions.jsonl --out demo-run

test: $(READY)
	$(BIN)/python -m pytest -n 2

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python bench/filtering.py --data $(DATA) --json bench/results/filtering.json
	$(BIN)/python bench/engine.py --data $(DATA) --json bench/results/engine.json
	$(BIN)/python bench/whole_run.py --data $(DATA) --json bench/results/whole_run.json

soak: $(READY)
	MERGEIT_KILLS=200 $(BIN)/python -m pytest tests/test_kill.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) demo-run build dist
