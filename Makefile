# Two commands do all the set-up: `make demo` and `make test`. `make help` lists the others.
# Needed: git, make and python3 (of a version that pyproject.toml lists, with venv). All else lands in .venv.

PYTHON ?= python3
PYTHONS := $(shell sed -nE 's/.*"Programming Language :: Python :: (3[.][0-9]+)".*/\1/p' pyproject.toml)
# The PyTorch in .venv: empty, or the value of uv's --torch-backend. Setting it up again keeps it.
MADE := $(shell cat .venv/ready 2> /dev/null)
TORCH ?= $(MADE)
ifneq ($(and $(wildcard .venv/ready),$(filter-out x$(TORCH),x$(MADE))),)
$(error .venv is of `make setup TORCH=$(MADE)`: to change PyTorch, remove it first: rm -rf .venv)
endif
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export UV_LINK_MODE ?= hardlink
UV := .venv/bin/uv
# Where Python may not keep compiled modules (containers often say so), each of the pipeline's processes
# would compile the libraries again: 7 CPU seconds for torch and diffusers.
COMPILE := $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)
# Published as sources only, and built in seconds: no compiler is needed for them.
PURE_PYTHON := antlr4-python3-runtime connection-pool
TABLE := results/demo/digits/table1
PYTEST := pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
REPORT := --report results/report.html --report-stylesheet workflow/report/report.css \
	--report-metadata workflow/report/metadata.yaml
# The run whose samples show first, before it is trained to the end; its kernels, before it has data.
FIRST := digits/dimr-xs-2r/0
KERNELS := $(if $(wildcard runs/$(FIRST)/model/record.json),,.cache/compiled/$(FIRST))
PRIOR := runs/$(FIRST)/model/record.json $(KERNELS)

.DEFAULT_GOAL := help
.PHONY: dvc.yaml help setup demo gpu-check study more-seeds readme report docs test test-fast lint check format wheels schemas lock adopt pull record experiments clean

help: ## this list
	@grep -hE '^[a-z.-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 11

setup: .venv/ready ## create the environment in .venv from requirements.lock; TORCH=cpu: no CUDA libraries

# A .venv of another Python is made afresh: its programs would stay. Another PyTorch (TORCH=cpu)
# brings its own libraries in place of the lock's, which are CUDA's; uv knows from where. That index
# could not be reached where this was written: the arguments to uv are tested, such an installation
# is not.
.venv/ready: requirements.lock pyproject.toml
	@found=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null); \
	hint="install one, then "; other=python$(lastword $(PYTHONS)); \
	case " $(PYTHONS) " in *" $${found:-missing} "*) ;; *) for one in $(PYTHONS); do \
	python$$one -c 'import ensurepip' 2> /dev/null && hint= other=python$$one; done; \
	echo "make setup: $(PYTHON) is $${found:-missing}, supported are $(PYTHONS): $${hint}make setup PYTHON=$$other" >&2; \
	exit 1;; esac; \
	echo "Setting up .venv (PyTorch is large: minutes on a slow connection)"; \
	clear=; [ -e .venv/bin/python$$found ] || clear=--clear; \
	$(PYTHON) -m venv $$clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.lock)"
ifeq ($(TORCH),)
	$(UV) pip install --python .venv/bin/python $(COMPILE) --requirement requirements.lock
else
	grep -vE '^(nvidia|cuda|triton)[^ ]* ;.* .linux' requirements.lock > .venv/requirements.txt
	$(UV) pip install --python .venv/bin/python $(COMPILE) --torch-backend $(TORCH) --requirement .venv/requirements.txt \
	|| { echo "make setup TORCH=$(TORCH): PyTorch for $(TORCH) comes from its authors' own index, which failed (above);" \
	"make setup without TORCH installs the usual one" >&2; exit 1; }
endif
	$(UV) pip install --python .venv/bin/python --no-deps --editable .
	@echo "$(TORCH)" > $@

# Snakemake itself says what is kept if it is stopped; without a shell, only it and make get Ctrl-C.
demo: setup ## train, sample and evaluate on digits: a table and a picture in 6 to 15 minutes
	@.venv/bin/snakemake --quiet rules host --prioritize $(PRIOR) -- $(TABLE).csv runs/$(FIRST)/metrics/guided.json $(KERNELS)
	@echo && cat $(TABLE).md && echo
	@dimr compare $(TABLE).csv
	@echo && echo "table:   $(TABLE).csv and $(TABLE).md (results/digits holds the recorded study)"
	@echo "picture: $(TABLE).png (samples of every row)"
	@echo "grid:    runs/$(FIRST)/samples/guided/grid.png"

study: setup ## everything on digits: tables, figures, docs/digits-study.md (about 90 trainings, and 40 for tuning)
	@.venv/bin/snakemake --quiet rules host -- study
	@dimr readme
	@echo "page:    docs/digits-study.md"
	@echo "tables:  results/digits/table1.md ... (.csv, .tex, .png), figures: results/digits/figures/"

# For the recorded study: its own runs are not needed, and other figures stay. `make study` remakes
# all of them.
more-seeds: setup ## train the seeds that experiments/claims.yaml asks for and results/digits/seeds.csv lacks; add them
	@.venv/bin/snakemake --quiet rules host -- more_seeds
	@snakemake --quiet rules host --allowed-rules figure -- results/digits/figures/effects.pdf
	@snakemake --quiet rules host --allowed-rules study_page -- docs/digits-study.md
	@dimr readme
	@echo "page:    docs/digits-study.md"

readme: setup ## regenerate the tables in README and docs from results/digits (after `make study`)
	@dimr readme

# From what is recorded: whatever tables and pictures results/digits has.
report: PAGES = $(patsubst %.md,%.html,$(wildcard results/digits/*.md))
report: PICTURES = $(wildcard results/digits/*.png results/digits/figures/*.png)
report: setup ## results/report.html: tables, figures and run times on digits in one file
	@snakemake --quiet rules progress host --allowed-rules page study_front -- $(PAGES) results/digits/study.html || \
	{ echo "make report: results/digits is incomplete (above): make study"; exit 1; }
	@snakemake --quiet all $(REPORT) -- $(PAGES) $(PICTURES) || { echo "make report failed; to see why: \
	snakemake $(REPORT) -- $(PAGES)"; exit 1; }
	@echo "report:  results/report.html"

docs: setup ## site/: all pages, the API reference, tables and figures of results/digits, for reading offline
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict
	@echo "site:    site/index.html"

# No setup: the machine with the GPU may have torch and NumPy, no network, and nothing else.
gpu-check: ## parity, speed and memory on this machine's GPU, in 8 minutes, into benchmarks/gpu/
	@PYTHONPATH=src $(PYTHON) benchmarks/gpu_check.py

test: setup ## all tests
	@$(PYTEST)

test-fast: setup ## unit and parity tests, without the slow ones: two to five minutes
	@$(PYTEST) -m "not slow" tests/unit tests/parity tests/golden tests/test_documents.py tests/test_commands.py

lint: setup ## style, types, workflow format and lint
	ruff check src tests benchmarks docs
	ruff format --check src tests benchmarks docs
	mypy
	snakefmt --check Snakefile workflow/rules
	snakemake --lint

check: lint test ## lint and test

format: setup ## apply the style
	ruff check --fix --quiet src tests benchmarks docs
	ruff format src tests benchmarks docs
	snakefmt Snakefile workflow/rules

wheels: setup ## check that the lock installs without a compiler on each supported Python (reads metadata only)
	@for one in $(PYTHONS); do $(UV) pip compile --quiet --no-header --python-version $$one requirements.lock \
	$$(sed -nE 's/^([A-Za-z0-9._-]+)==.*/\1/p' requirements.lock | grep -vxF $(PURE_PYTHON:%=-e %) | sed 's/^/--only-binary /') \
	> /dev/null || { echo "make wheels: Python $$one lacks wheels (above)" >&2; exit 1; }; echo "Python $$one: wheels"; done

schemas: setup ## JSON schemas of params.yaml and experiments/, for editors
	@python -c 'import json; from dimr.config.schema import SCHEMAS; [open(f"workflow/schemas/{n}.json", \
	"w").write(json.dumps(s.json_schema(), indent=1) + "\n") for n, s in SCHEMAS.items()]'

dvc.yaml: setup ## the DVC stages of the workspace run, from src/dimr/stages
	@python -c 'from dimr.sharing.dvc_stages import dvc_yaml; open("$@", "w").write(dvc_yaml())'

adopt: setup ## after `dvc pull` or `dvc checkout`: take over results whose recorded keys match
	@dimr adopt

pull: setup ## get what others recorded: dvc pull, then adopt
	@dimr pull

record: setup ## record finished runs and tables in DVC, for `dvc push`
	@dimr record

experiments: setup ## DVC's experiments: what differs, and the FID of each setting
	@dimr experiments

lock: setup ## update exact versions: requirements.lock, and environment.yml with the same pins
	$(UV) pip compile pyproject.toml --all-extras --universal --python-version $(firstword $(PYTHONS)) --upgrade \
		--no-header --no-emit-index-url --quiet --output-file requirements.lock
	$(MAKE) --no-print-directory environment.yml

environment.yml: requirements.lock
	@{ echo "# Made from requirements.lock by \`make lock\`; a test compares the two."; \
	echo "name: dimr"; echo "channels: [conda-forge]"; echo "dependencies:"; \
	echo "  - python=$(firstword $(PYTHONS))"; echo "  - pip"; echo "  - pip:"; \
	sed -nE 's/^([A-Za-z0-9].*)/      - \1/p' requirements.lock; } > $@

containers/dimr.sif: containers/dimr.def requirements.lock pyproject.toml Makefile
	apptainer build --force $@ $<

clean: ## delete all of data/ and runs/, trainings included, and results that are not checked in; asks nothing
	find -H data runs -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	rm -rf logs .snakemake
	git clean -dfxq results # what is checked in stays
