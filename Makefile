# `make demo` runs the main job on the embedded store; `make test` passes the tests. Each does the set-up first.
# Needed: Python 3.11 or later and make. Another Python: `make setup PYTHON=python3.12`.

PYTHON ?= python3
STAMP := .venv/.stamp
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=
FUZZ_ARGS ?=
# Test processes: most tests wait for real services, so three share two cores well. JOBS=0: all in one.
JOBS ?= 3

# What is compiled is kept: else each test process would compile, and rewrite, every test module anew, half a minute.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := setup

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml tools/bootstrap.py
	@$(PYTHON) tools/bootstrap.py
	@touch $@

demo: setup
	@.venv/bin/dozor demo $(DEMO_ARGS)

# Format, lint, types, imports: seconds.
check: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# The short form.
test: setup
	.venv/bin/python -m pytest -rs -n $(JOBS) --dist loadfile --no-loadscope-reorder $(TEST_ARGS)

# The short form with the coverage of what runs in the test processes; twice the work.
coverage: setup
	.venv/bin/python -m pytest -rs -n $(JOBS) --dist loadfile --cov --cov-report=term:skip-covered $(TEST_ARGS)

# The same tests at full count and length.
soak: setup
	DOZOR_SOAK=1 .venv/bin/python -m pytest -rs $(TEST_ARGS)

# Mutated bytes of every protocol, 10^8 each: FUZZ_ARGS="--protocol teltonika --bytes 1e9 --seed 2". Ends by itself.
fuzz: setup
	@.venv/bin/python -m tests.protocols.fuzzing $(FUZZ_ARGS)

bench: setup
	@.venv/bin/python -m bench $(BENCH_ARGS)

# The catalogues of pages, brought up to date with the sources; what is missing in them is told.
words: setup
	@.venv/bin/python -m tools.words

# docs/desk.png, from a demo that runs for it.
screenshot: setup
	.venv/bin/python tools/demo_screenshot.py docs/desk.png

# docs/days, from the walks of the tests through each role's day.
pictures: setup
	DOZOR_PICTURES=docs/days .venv/bin/python -m pytest -q tests/ticketing/desk/test_browser.py \
	    tests/ticketing/desk/test_browser_forms.py tests/ticketing/desk/test_browser_days.py

# Pin what pyproject.toml asks for; LOCK_ARGS=--upgrade takes newer releases.
lock: setup
	.venv/bin/uv pip compile pyproject.toml --group dev --universal --generate-hashes --no-emit-index-url \
	    --python-version 3.11 $(LOCK_ARGS) -o requirements.lock >/dev/null

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* build dist *.egg-info

.PHONY: setup demo check test coverage soak fuzz bench words screenshot pictures lock clean
