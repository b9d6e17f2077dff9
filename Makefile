# weft: `make demo` runs the main job, `make test` passes the tests. Both set up everything they need.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
STAMP   = $(VENV)/.weft-installed
DEV     = $(VENV)/.weft-dev-installed

.PHONY: demo test test-all test-nightly test-backends test-cluster lint benchmarks clean browser

# The environment: everything `weft` needs is on PyPI; no vendor tool, no licence. For the tests of other backends it is
# the CPU build of PyTorch: 2.13.0 asked for by name, a plain `torch` brings CUDA along.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(DEV): pyproject.toml $(STAMP)
	$(BIN)/python -m pip install --quiet "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: $(STAMP)
	$(BIN)/weft run jets-demo --out runs/demo
	@echo "Open runs/demo/report.html in a browser."

test: $(DEV) browser
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu and not vendor and not cluster"
	KERAS_BACKEND=torch $(BIN)/python -m pytest -m "backends and not slow" tests/compression/test_conformance.py

test-all: $(DEV) browser
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not gpu and not vendor and not cluster"
	KERAS_BACKEND=torch $(BIN)/python -m pytest -n 2 --dist loadfile -m "backends and not gpu and not vendor"
	$(BIN)/python -m pip install --quiet tensorflow-cpu
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -n 2 --dist loadfile -m "backends and not gpu and not vendor"

# 5 000 random designs, others every time, down to RTL; hours.
test-nightly: $(DEV)
	WEFT_RANDOM_DESIGNS=5000 $(BIN)/python -m pytest --timeout=28800 tests/firmware/test_random_designs.py

# What must hold on every Keras backend, under PyTorch.
test-backends: $(DEV)
	KERAS_BACKEND=torch $(BIN)/python -m pytest -n 2 --dist loadfile -m "backends and not slow and not gpu and not vendor"

# A search on a real Slurm of one node, and one joined by a real PostgreSQL; the tests start and stop both. Needs root.
test-cluster: $(DEV)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge postgresql
	$(BIN)/python -m pip install --quiet --editable ".[cluster]"
	$(BIN)/python -m pytest -m cluster -s tests/cluster

lint: $(DEV)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/pyright

# The report is tested in a real browser. Debian's Chromium is used where none is on PATH and apt may install it.
browser:
	@command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || { \
	  if command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; \
	  else echo "no Chromium found and no right to install it: the browser test will be skipped"; fi; }

benchmarks: $(DEV)
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/compression.py

clean:
	rm -rf $(VENV) .envs runs build dist .pytest_cache .hypothesis .ruff_cache
