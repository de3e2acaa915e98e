# make, or make help, lists what there is.

DATASET ?= digits
DEVICES ?=
ARGS ?=
PORT ?= 6006
PYTHON ?= python3
TORCH_INDEX ?=
LOCK ?= requirements.lock

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
# The redirection makes every version of make ask a shell, which alone knows `command`.
UV := $(shell command -v uv 2>/dev/null)
INSTALL := $(if $(UV),uv pip install --python $(PY),$(PY) -m pip install)

.DELETE_ON_ERROR:
.PHONY: help setup raw lightning minimal compare diff mistakes bench bench-peers tensorboard accuracy test lint readme lock audit clean distclean test-chaos test-long test-xla

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo 'Variables:   make raw DATASET=mnist ARGS="--max_epochs 2"'
	@echo '             make lightning DEVICES=2'
	@echo '             make setup PYTHON=python3.12'
	@echo '             make tensorboard PORT=6007'
	@echo 'Every flag:  make raw ARGS=--help'

setup: $(READY) ## Install what is needed into .venv; the others do it when first needed
	@$(PY) -c "$$SAY_WHAT_IS_THERE"

raw: $(READY) ## Train with the raw PyTorch loop, then test
	$(PY) -m raw_pytorch train --dataset $(DATASET) $(addprefix --devices ,$(DEVICES)) $(ARGS)

lightning: $(READY) ## Train with Lightning, then test; the weights come out equal
	$(PY) -m lightning train --dataset $(DATASET) $(addprefix --devices ,$(DEVICES)) $(ARGS)

minimal: $(READY) ## Run the two programs of one screen each
	$(PY) -m raw_pytorch.minimal
	$(PY) -m lightning.minimal

compare: $(READY) ## Train both sides, and write one page about them into runs/compare
	$(PY) -m shared.compare $(if $(findstring --raw,$(ARGS)),,--dataset $(DATASET) \
	  $(addprefix --devices ,$(DEVICES))) $(ARGS)

diff: ## Show both sides beside each other, file by file
	@bash -c "$$SIDE_BY_SIDE"

tensorboard: $(READY) ## Show the curves of all runs on http://127.0.0.1:6006 (PORT=6006)
	$(PY) -m tensorboard.main --logdir runs --host 127.0.0.1 --port $(PORT)

accuracy: $(READY) ## Measure the accuracy of both sides over five seeds
	$(PY) -m shared.bench.accuracy --dataset $(DATASET) $(ARGS)

mistakes: $(READY) ## Make the classic mistakes, and see each named by the instrument
	$(PY) -m shared.mistakes $(ARGS)
	@echo 'make compare shows it as a section of its page, and make readme as a table.'

bench: $(READY) ## Measure how fast both sides are, in about ten minutes; ARGS=--quick in two
	$(PY) -m shared.bench $(ARGS)

bench-peers: $(READY) ## Time scripts in a folder to 99 % on MNIST, against ours: PEERS=FOLDER
	$(PY) -m shared.bench.peers $(if $(PEERS),'$(PEERS)',) $(ARGS)

# One more than there are cores: some tests wait, for other processes or for a signal.
WORKERS := $(shell $(PYTHON) -c 'import os; print(min(8, (os.cpu_count() or 1) + 1))' 2>/dev/null)

test: $(READY) ## Run the tests: the proof that both sides are the same run
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-long: $(READY) ## Run the tests that take longest; .ci/run does, too
	$(PY) -m pytest -m long $(ARGS)

test-chaos: $(READY) ## Break a hundred runs on purpose, and see that nothing is lost
	$(PY) -m pytest -vv -m chaos --faults=runs/faults/chaos.json $(ARGS)

test-xla: .venv-xla/.ready ## Test the path of a TPU, on XLA's CPU device, in .venv-xla
	PJRT_DEVICE=CPU .venv-xla/bin/python -m pytest tests/parity/test_xla.py $(ARGS)

lint: $(READY) ## Check style and formatting
	$(PY) -m ruff check
	$(PY) -m ruff format --check

readme: $(READY) ## Write the generated parts of README.md anew
	$(PY) -m shared.docs

lock: ## Write requirements.lock anew, with the hash of every file that pip may take
	@command -v uv >/dev/null || { echo 'error: make lock needs uv: pip install uv' >&2; exit 1; }
	@head -n 4 requirements.lock > requirements.lock.new
	uv pip compile requirements.txt -c constraints.txt --universal --python-version 3.10 \
	  --generate-hashes --no-header --no-annotate \
	  --quiet >> requirements.lock.new
	@mv requirements.lock.new requirements.lock

audit: ## Ask osv.dev whether a locked version has a known vulnerability
	@$(PYTHON) .ci/audit.py requirements.lock

clean: ## Remove runs/ and caches; never data/ or .venv/
	rm -rf runs .pytest_cache .ruff_cache .hypothesis
	@find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove .venv/ too; still not data/
	rm -rf $(VENV) .venv-xla

# Removed first and written last: a set-up that was cut short leaves no stamp and is taken up again.
# Where packages come from PyTorch's own index, torch and torchvision come first and together, so
# that they fit each other; without dependencies, of which that index has only some versions. The
# lock has the hashes of PyPI's files: all the rest is held to it, and the last line adds only what
# such a torch needs and PyPI's does not.
$(READY): requirements.txt constraints.txt requirements.lock $(PY)
	@rm -f $@
	@echo "Installing into $(VENV). This happens once; with CUDA, torch is a download of 2 to 3 GB."
	@$(if $(UV),,$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip)
	$(if $(TORCH_INDEX),$(INSTALL) -c constraints.txt --no-deps --index-url $(TORCH_INDEX) \
	  torch torchvision)
	@$(if $(LOCK),awk '/^[a-z]/ {keep = !/$(NOT_LOCKED)/} keep' $(LOCK) > $(VENV)/locked.txt)
	$(if $(LOCK),$(INSTALL) --no-deps --require-hashes -r $(VENV)/locked.txt || { echo $(UNLOCKED); \
	  exit 1; },@echo 'note: LOCK= is empty, so no hash is checked')
	$(INSTALL) $(if $(TORCH_INDEX),,$(if $(LOCK),--quiet)) -c constraints.txt -r requirements.txt
	@touch $@

NOT_LOCKED := $(if $(TORCH_INDEX),^(torch|torchvision|triton|nvidia-.*|cuda-.*)==,^$$)
UNLOCKED := 'error: not installed as requirements.lock has it; where packages come from elsewhere \
  than PyPI, with other hashes: make setup LOCK=' >&2

# torch_xla fits one version of torch only; versions that were tried together.
XLA := torch==2.9.0 torch_xla==2.9.0
OTHERS := $(shell sed -n 's/ *\#.*//; /^torch\(vision\)\?>/d; /^ruff/d; /./p' requirements.txt 2>/dev/null)

.venv-xla/.ready: requirements.txt constraints.txt
	@rm -rf .venv-xla
	$(if $(UV),uv venv --quiet --python $(PYTHON),$(PYTHON) -m venv) .venv-xla
	@grep -vE '^torch(vision)?==' constraints.txt > .venv-xla/constraints.txt
	$(if $(UV),uv pip install --python .venv-xla/bin/python,.venv-xla/bin/python -m pip install) \
	  -c .venv-xla/constraints.txt $(XLA) $(foreach other,$(OTHERS),'$(other)')
	@touch $@

# A link to a Python that is gone counts as missing, so this also mends .venv after an upgrade.
$(PY):
	@command -v $(PYTHON) >/dev/null || { \
	  echo 'error: there is no $(PYTHON); name another: make setup PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c "$$CHECK_PYTHON"
	@rm -rf $(VENV)
	$(if $(UV),uv venv --quiet --python $(PYTHON),$(PYTHON) -m venv) $(VENV)

define CHECK_PYTHON
import sys
version = sys.version_info[:2]
if not (3, 10) <= version <= (3, 14):
    sys.exit(
        "error: $(PYTHON) is Python %d.%d, and 3.10 to 3.13 is needed; "
        "name another: make setup PYTHON=python3.12" % version
    )
if version == (3, 14):
    sys.stderr.write("note: not tested with Python 3.14, but everything is there to install\n")
if not "$(UV)":
    try:
        import ensurepip, venv
    except ImportError:
        sys.exit("error: $(PYTHON) lacks venv; on Debian and Ubuntu: apt install python3-venv")
endef
export CHECK_PYTHON

define SAY_WHAT_IS_THERE
import platform
from importlib.metadata import version
print("$(VENV) is ready: Python", platform.python_version() + ", torch", version("torch"))
print("To have others: make distclean, then make setup with PYTHON= or TORCH_INDEX=")
endef
export SAY_WHAT_IS_THERE

# Lines are folded to their half of the screen: cut off, they would hide differences.
define SIDE_BY_SIDE
width=$${COLUMNS:-$$( (stty size </dev/tty | cut -d ' ' -f 2) 2>/dev/null)}
half=$$(( $${width:-80} / 2 ))
show() {
  for file in raw_pytorch/*.py; do
    name=$${file#raw_pytorch/}
    [ -e "lightning/$$name" ] && continue
    # A file that only this side has says at its head what replaces it.
    instead=$$(sed -n '/^Lightning: /,/^"*$$/p' "$$file" | grep -v '^"*$$' | tr '\n' ' ')
    head="Only in raw_pytorch: $$name"
    printf '%s\n' "$$instead" | fold -s -w $$((half > 39 ? half * 2 - 40 : 40)) | while read -r line; do
      printf '%-39s %s\n' "$$head" "$$line"
      head=
    done
  done
  for file in lightning/*.py; do
    name=$${file#lightning/}
    printf "\n$$bold%-$${half}s  %s$$plain\n" "raw_pytorch/$$name" "$$file"
    diff -yt -W $$((half * 2)) <(fold -s -w $$((half - 2)) "raw_pytorch/$$name") \
      <(fold -s -w $$((half - 2)) "$$file") | awk -v half=$$half -v plain="$$plain" \
      -v left="$$red" -v right="$$green" -v both="$$yellow" '{
        mark = substr($$0, half, 1)
        colour = mark == "<" ? left : mark == ">" ? right : mark == "|" ? both : ""
        print colour $$0 (colour ? plain : "")
      }'
  done
}
if [ -t 1 ]; then
  if [ -z "$$NO_COLOR" ]; then
    bold=$$'\e[1m' red=$$'\e[31m' green=$$'\e[32m' yellow=$$'\e[33m' plain=$$'\e[0m'
  fi
  show | LESS=FRX $${PAGER:-$$(command -v less || echo cat)}
else
  show
fi
endef
export SIDE_BY_SIDE
