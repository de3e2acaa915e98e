# make, or make help, lists what there is.

DATASET ?= digits
PORT ?= 6006
PYTHON ?= python3
LOCK ?= requirements.lock
export LOCK TORCH_INDEX

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
TRAIN = --dataset $(DATASET) $(addprefix --devices ,$(DEVICES))
# One more than there are cores: some tests wait, for other processes or for a signal.
WORKERS = $(shell $(PY) -c 'import os; print(min(8, (os.cpu_count() or 1) + 1))')
XDIST = -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help raw lightning basic compare test minimal diff tensorboard mistakes setup accuracy bench
.PHONY: bench-peers test-long test-chaos test-xla lint readme lock audit clean distclean puzzle

##@ To learn:
raw: $(READY) ## Train with the raw PyTorch loop, then test
	$(PY) -m raw_pytorch train $(TRAIN) $(ARGS)
lightning: $(READY) ## Train with Lightning, then test: the weights are equal
	$(PY) -m lightning train $(TRAIN) $(ARGS)
basic: $(READY) ## Run both programs of one chapter each
	$(PY) -m raw_pytorch.basic
	$(PY) -m lightning.basic
compare: $(READY) ## Write the page that shows who does each line now
	$(PY) -m shared.compare $(if $(findstring --raw,$(ARGS)),,$(TRAIN)) $(ARGS)
puzzle: $(READY) ## Mend loops and port them, checked to the bit; N=7 opens one
	@$(PY) -m shared.puzzles $(N) $(ARGS)
test: $(READY)-test $(READY)-lint ## Prove that both sides are the same run
	$(PY) -m pytest $(XDIST) $(ARGS)

##@ To look closer:
minimal: $(READY) ## Run both programs of one screen each
	$(PY) -m raw_pytorch.minimal
	$(PY) -m lightning.minimal
diff: ## Show both codes beside each other; FILE=train shows one
	@$(firstword $(wildcard $(PY)) $(PYTHON)) -m shared.compare.diff $(FILE)
tensorboard: $(READY) ## Show the curves of all runs on http://127.0.0.1:6006
	$(PY) -m tensorboard.main --logdir runs --host 127.0.0.1 --port $(PORT)
mistakes: $(READY) ## Make the classic mistakes, and see each of them named
	$(PY) -m shared.mistakes $(ARGS)

##@ For maintainers:
help: ## Show this list
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } /^#: / { print substr($$0, 4) } \
	  /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
setup: $(READY) ## Install what training needs; each command adds its own
	@echo '$(VENV) is ready. For another: make distclean, then make setup with PYTHON= or TORCH_INDEX='
accuracy: $(READY) ## Measure the accuracy of both sides over five seeds
	$(PY) -m shared.bench.accuracy --dataset $(DATASET) $(ARGS)
bench: $(READY) ## Measure the speed in twelve minutes; ARGS=--quick in two
	$(PY) -m shared.bench $(ARGS)
bench-peers: $(READY) ## Time the scripts in PEERS=FOLDER to 99 % on MNIST
	$(PY) -m shared.bench.peers $(if $(PEERS),'$(PEERS)',) $(ARGS)
test-long: $(READY)-test $(READY)-browser ## Run the tests that take longest
	$(PY) -m pytest -m long $(XDIST) $(ARGS)
test-chaos: $(READY)-test ## Break a hundred runs on purpose: nothing may be lost
	$(PY) -m pytest -vv -m chaos --faults=runs/faults/chaos.json $(ARGS)
test-xla: .venv-xla/.ready ## Test the path of a TPU on XLA's CPU device, in .venv-xla
	PJRT_DEVICE=CPU .venv-xla/bin/python -m pytest tests/parity/test_xla.py $(ARGS)
lint: $(READY)-lint ## Check style, formatting and types
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
readme: $(READY) ## Write the generated parts of the documents anew
	$(PY) -m shared.docs
lock: ## Write requirements.lock anew; ARGS=--upgrade for the newest
	@.ci/lock $(ARGS)
audit: $(READY)-audit ## Ask PyPI whether a locked version has a known weakness
	$(PY) -m pip_audit --strict --disable-pip --require-hashes -r requirements.lock
clean: ## Remove runs/ and caches; never data/ or .venv/
	rm -rf runs .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
distclean: clean ## Remove .venv/ too; still not data/
	rm -rf $(VENV) .venv-xla
##@ Variables:
#:   make raw DATASET=mnist ARGS="--max_epochs 2"    ARGS=--help lists every flag
#:   make lightning DEVICES=2   make diff FILE=train   make tensorboard PORT=6007
#:   make setup PYTHON=python3.12

# A stamp is written last, so that a set-up that was cut short is taken up again.
$(READY): requirements.lock $(PY)
	@echo "Installing into $(VENV), once. With CUDA, torch is a download of 2 to 3 GB."
	.ci/install $(PY) dependencies
	@touch $@
$(READY)-%: $(READY)
	.ci/install $(PY) $*
	@touch $@
.venv-xla/.ready: requirements.lock
	.ci/venv $(PYTHON) .venv-xla
	TORCH='torch==2.9.0 torch_xla==2.9.0' .ci/install .venv-xla/bin/python dependencies test
	@touch $@
# A link to a Python that is gone counts as missing, so this also mends .venv after an upgrade.
$(PY):
	@.ci/venv $(PYTHON) $(VENV)
