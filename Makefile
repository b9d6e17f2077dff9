# weft: `make demo` runs the main job, `make test` passes the tests. Both set up everything they need.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
STAMP   = $(VENV)/.weft-installed
DEV     = $(VENV)/.weft-dev-installed
DOCS    = $(VENV)/.weft-docs-installed

.PHONY: demo test test-long test-all test-nightly test-backends test-cluster lint benchmarks docs support clean browser

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

$(DOCS): pyproject.toml $(DEV)
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

demo: $(STAMP)
	$(BIN)/weft run jets-demo --out runs/demo
	@echo "Open runs/demo/report.html in a browser."

test: $(DOCS) browser
	$(BIN)/ruff check src tests benchmarks docs tools
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu and not vendor and not cluster" --junitxml=$(VENV)/jax.xml
	KERAS_BACKEND=torch $(BIN)/python -m pytest -n 2 --dist loadfile -m "backends and not slow" --junitxml=$(VENV)/torch.xml tests/compression/test_conformance.py tests/pytorch

# What CI promises and `make test` has no time for: all of the PyTorch zoo down to RTL, the example of a plug-in in a run.
test-long: $(DOCS)
	$(BIN)/python -m pytest -n 2 -m "slow and not gpu and not vendor and not cluster" tests/pytorch/test_down.py tests/pytorch/test_from_torch.py tests/plugins

# Everything, the other backends and rule4ml in its own environment (3.5 GB) too; hours.
test-all: $(DOCS) browser
	$(BIN)/weft surrogate install-rule4ml
	$(BIN)/ruff check src tests benchmarks docs tools
	WEFT_RULE4ML_PYTHON=$$($(BIN)/python -c "from weft.cost.rule4ml import interpreter; print(interpreter())") \
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
	$(BIN)/ruff check src tests benchmarks docs tools
	$(BIN)/ruff format --check src tests benchmarks tools docs/_ext docs/tutorials docs/conf.py
	$(BIN)/pyright --pythonpath $(BIN)/python

# The report is tested in a real browser. Debian's Chromium is used where none is on PATH and apt may install it.
browser:
	@command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || { \
	  if command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; \
	  else echo "no Chromium found and no right to install it: the browser test will be skipped"; fi; }

# The site, with every tutorial run and warnings as errors; without the cache of an earlier build.
docs: $(DOCS)
	$(BIN)/python -m sphinx -W --keep-going -E -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html in a browser."

# The table of what prunes what, from the results that `make test` left.
support:
	$(BIN)/python benchmarks/pruning_support.py --from jax=$(VENV)/jax.xml torch=$(VENV)/torch.xml

benchmarks: $(DEV)
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/compression.py
	$(BIN)/python benchmarks/hardware.py

clean:
	rm -rf $(VENV) .envs runs build dist docs/_build .pytest_cache .hypothesis .ruff_cache
