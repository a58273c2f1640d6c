# All that we run. `make demo` and `make test` work on a fresh clone: no account, key, GPU or market hours.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
MODEL := models/smollm2-135m/manifest.json

.PHONY: demo test lint types check bench fuzz chaos year soak cluster model clean
.DEFAULT_GOAL := check

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(MODEL): | $(INSTALLED)
	$(BIN)/twtrader model pull smollm2-135m

model: $(MODEL)            ## the small model, fetched once

demo: $(INSTALLED) $(MODEL)  ## two trading sessions on the sandbox, with a real LLM
	$(BIN)/twtrader demo

test: lint types $(MODEL)  ## everything that CI runs
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

check: test

bench: $(INSTALLED) $(MODEL)  ## our figures, each beside a peer in the same run
	for script in $(filter-out %_gpu.py benchmarks/llm_steady.py benchmarks/llm_answers.py benchmarks/real_questions.py,$(wildcard benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done

fuzz: $(INSTALLED)        ## 100,000 broken price answers, with a seed of its own
	$(BIN)/python tests/price_fuzz.py --count 100000

year: $(INSTALLED)        ## 366 days of sleep, restarts, kills and clock steps; about ten minutes
	$(BIN)/python tests/simulated_year.py

soak: $(INSTALLED)        ## 250 sessions beside an open status view; about ten minutes
	$(BIN)/python tests/soak.py

chaos: $(INSTALLED)       ## every commit point x 200 seeds with kill -9, 2,000 mixes of faults; ARGS="--seed N --point P"
	PYTHONPATH=tests $(BIN)/python tests/chaos/run_chaos.py $(ARGS)

cluster: $(INSTALLED)     ## a sweep on a local Ray cluster of two nodes, one of them killed half-way
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,cluster]'
	$(BIN)/python -m pytest -m cluster

clean:
	rm -rf demo reports .pytest_cache .mypy_cache .ruff_cache .hypothesis
