# make demo: set up .venv and run the main job.
# make test: the same set-up, then lint, types, and all tests but the slow ones.   make test-all: the slow ones, too.
# make fuzz SEEDS=0:10000 READERS="images videos": changed files for each reader; prints the seeds to continue with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.set-up

.PHONY: demo test test-all lint types unit slow fuzz lock setup clean

demo: $(SETUP)
	$(BIN)/offnormal demo

test: lint types unit

test-all: test slow

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(SETUP)
	$(BIN)/mypy

unit: $(SETUP)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m "not slow"

slow: $(SETUP)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m slow

SEEDS ?= 0:2000
fuzz: $(SETUP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.fuzz --seeds $(SEEDS) $(READERS)

setup: $(SETUP)

$(SETUP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --quiet --require-hashes requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -c "import timm, offnormal.api"  # compiled once, not at every start
	touch $@

# Every dependency at one version with its hashes, for all platforms; names no index.
lock:
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip compile --universal --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --group dev pyproject.toml -o requirements.lock --quiet

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
