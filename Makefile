# Two commands do everything on a fresh machine with Python >= 3.11: `make demo`, `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test docs benchmark clean

demo: $(READY)
	$(BIN)/discretevae train --epochs 300 --out runs/demo-$$(date +%Y%m%d-%H%M%S)

test: $(READY)
	PATH="$(abspath $(BIN)):$$PATH" scripts/check

docs: $(READY)
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

benchmark: $(READY)
	$(BIN)/python benchmarks/step.py

# the stamp is newer than both files exactly when the environment holds what they ask for
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
