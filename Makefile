# Everything a fresh machine with Python 3.11 or newer needs: `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
DATA ?= ../shared/data

.PHONY: demo test check bench peers soak clean

demo: $(READY)
	rm -rf demo-run
	$(BIN)/python -m mergeit_async run examples/instructions.jsonl --out demo-run

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python bench/filtering.py --data $(DATA) --json bench/results/filtering.json
	$(BIN)/python bench/gate.py --data $(DATA) --json bench/results/gate.json
	$(BIN)/python bench/flawed.py --data $(DATA) --json bench/results/flawed.json
	$(BIN)/python bench/engine.py --data $(DATA) --json bench/results/engine.json
	$(BIN)/python bench/whole_run.py --data $(DATA) --json bench/results/whole_run.json
	$(BIN)/python bench/limits.py --data $(DATA) --json bench/results/limits.json
	$(BIN)/python bench/makespan.py --data $(DATA) --json bench/results/makespan.json
	$(BIN)/python bench/ab_null.py --data $(DATA) --json bench/results/ab_null.json
	$(BIN)/python bench/ab_power.py --data $(DATA) --json bench/results/ab_power.json
	$(BIN)/python bench/million.py --json bench/results/million.json

peers: $(READY)
	$(BIN)/python bench/peers/install.py
	$(BIN)/python bench/peers/compare.py --data $(DATA) --json bench/results/peers.json

soak: $(READY)
	$(BIN)/python bench/soak.py --data $(DATA) --json bench/results/soak.json

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) demo-run build dist
