# Only Python (3.11 or newer) and a network are needed; everything is installed into .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Simulator: the first seed, and how many seeds are run from there on.
SEED ?= 1
RUNS ?= 2000
# Real members: how long all stages of the fault matrix may take together.
MINUTES ?= 30
# Tests run on this many processes.
JOBS ?= auto
# By a plain path: the import hook of the other mode costs every start of a program 10 ms. Bytecode is
# made at once, as any other installation does; without it a start takes twice as long.
EDITABLE := --config-settings editable_mode=compat -e '.[dev]'
# Further arguments for pytest, the benchmarks, the crash test ...
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help venv run test fmt lint types layering unit test-slow scenarios conformance \
        integration etcdctl-diff sim jepsen mutants crash changing rolling watching migrate \
        control bench recovery coldstart cover docs examples upgrade clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# setuptools, which builds the package in an environment of its own, is pinned through PIP_CONSTRAINT.
$(READY): setup.cfg pyproject.toml constraints.txt
	@echo "--- preparing $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "kvraft needs Python 3.11 or newer; say PYTHON=/path/to/it" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet \
	    --disable-pip-version-check $(EDITABLE)
	@$(BIN)/python -m compileall -q kvraft kvraft_cli
	@touch $@

venv: $(READY) ## install kvraft and its tools into .venv

run: $(READY) ## start a cluster of three on this machine
	@exec $(BIN)/kvraft dev $(ARGS)

test: lint types unit ## everything that has to pass: linter, types, tests

fmt: $(READY) ## put the code into shape
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

lint: $(READY)
	@echo "--- ruff"
	@$(BIN)/ruff check .

types: $(READY)
	@echo "--- mypy --strict"
	@$(BIN)/mypy

layering: $(READY) ## only the rules on who may import what
	$(BIN)/pytest -q tests/test_layering.py tests/test_tidy.py

unit: $(READY)
	@echo "--- pytest"
	@$(BIN)/pytest -q -n $(JOBS) --dist worksteal $(ARGS)

test-slow: $(READY) ## the tests, including the slow ones
	$(BIN)/pytest -q -n $(JOBS) --dist worksteal --slow $(ARGS)

scenarios: $(READY) ## the written Raft scenarios
	$(BIN)/pytest -q tests/raft/test_scenarios.py $(ARGS)

conformance: $(READY) ## replay the recorded cases against kvraft
	$(BIN)/pytest -q -n $(JOBS) tests/conformance $(ARGS)

integration: $(READY) ## real processes, driven from outside
	$(BIN)/pytest -q -n $(JOBS) --dist worksteal tests/integration $(ARGS)

etcdctl-diff: $(READY) ## Debian's etcdctl on kvraft and on a real etcd: what differs
	@$(BIN)/python -m tests.sidebyside.etcdctl_diff $(ARGS)

sim: $(READY) ## simulate whole clusters: SEED=1 RUNS=2000
	$(BIN)/python -m jepsen_like sim --seed $(SEED) --runs $(RUNS) $(ARGS)

jepsen: $(READY) ## the whole fault matrix on real members: MINUTES=30
	$(BIN)/python -m jepsen_like run --minutes $(MINUTES) $(ARGS)

mutants: $(READY) ## plant known bugs, see that the simulator finds each
	$(BIN)/python -m jepsen_like mutants $(ARGS)

crash: $(READY) ## kill and pause real members under load (short for one fault of jepsen)
	$(BIN)/python -m jepsen_like run --seconds 90 --fault 'kill and pause anybody' $(ARGS)

changing: $(READY) ## strike real members while others come and go (short for a few faults of jepsen)
	$(BIN)/python -m jepsen_like run --minutes 5 --fault 'add members' 'remove members' \
	    'remove the leader' 'replace members' 'move members' 'kill all during a change' \
	    'lose a disk' 'too few members left' $(ARGS)

watching: $(READY) ## follow 100 000 changes with the client while real members are killed
	$(BIN)/python -m jepsen_like watching $(ARGS)

rolling: $(READY) ## replace all members of a running cluster under load, then look for every write
	$(BIN)/python -m jepsen_like rolling $(ARGS)

migrate: $(READY) ## move from a real etcd to kvraft under load, compare (needs etcd-server)
	$(BIN)/python -m jepsen_like migrate $(ARGS)

coldstart: $(READY) ## how long one kvraftctl get takes, from fork to exit
	@$(BIN)/python -m benchmarks.coldstart $(ARGS)

control: $(READY) ## the harness on a real etcd and on kvraft: stale reads have to be found on both
	@$(BIN)/python -m jepsen_like control $(ARGS)

recovery: $(READY) ## how long writes stand still when the leader is killed, beside a real etcd
	@$(BIN)/python -m benchmarks.recovery $(ARGS)

bench: $(READY) ## compare with a real etcd (needs Debian's etcd-server and wrk)
	@$(BIN)/python -m benchmarks.compare $(ARGS)

cover: $(READY) ## the tests with coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q --ignore tests/integration --ignore tests/conformance $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/coverage html --quiet

docs: $(READY) ## the manual, into docs/_build/html
	@$(BIN)/python -m sphinx -q -W --keep-going -c docs -d docs/_build/trees . docs/_build/html
	@echo "open docs/_build/html/docs/index.html"

examples: $(READY) ## run the manual's examples (ARGS=--update: renew what they show)
	$(BIN)/python -m tests.docs $(ARGS)

upgrade: ## take the newest versions of everything into constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade $(EDITABLE)
	sed -i '/^[^#]/d' constraints.txt
	$(BIN)/python -m pip freeze --all --exclude-editable --exclude pip >> constraints.txt
	touch $(READY)

clean: ## remove everything that was made here
	rm -rf $(VENV) build dist docs/_build htmlcov .coverage .coverage.* .hypothesis
	rm -rf .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
