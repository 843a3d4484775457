# make demo  - camera frames through the real node over real ROS 2; pictures in demo_out/
#              (IMAGES=folder or BAG=rosbag2 with TOPIC=name for your own, FRAMES=how many)
# make test  - lint, types and all tests
# The first use of a target makes the environment in .venv, from PyPI (about 6 GB, most of it
# PyTorch). Where a ROS 2 is sourced, its rclpy is used instead of the wheels.

VENV ?= .venv
PYTHON3 ?= python3
IMAGES ?=
BAG ?=
TOPIC ?=
FRAMES ?=
OUT ?= demo_out

MAKEFLAGS += --no-print-directory
PYTHON := $(abspath $(VENV))/bin/python
READY := $(VENV)/.ready
comma := ,
EXTRAS := bags,cpu,train,export,test$(if $(ROS_DISTRO),,$(comma)ros)

.PHONY: demo test lint clean python

demo: $(READY)
	@$(PYTHON) -m fcn_road_seg demo --out '$(OUT)' \
	    $(if $(IMAGES),--images '$(IMAGES)') $(if $(BAG),--bag '$(BAG)') \
	    $(if $(TOPIC),--topic '$(TOPIC)') $(if $(FRAMES),--frames $(FRAMES))

test: lint
	@$(PYTHON) -m pytest

lint: $(READY)
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

clean:
	@rm -rf '$(VENV)' build install log bench_out demo_out *.egg-info .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

python: $(READY)
	@echo $(PYTHON)

# On stderr, so that `make python` prints one line. A new venv's setuptools may be too old for the
# newest PyTorch, and uv keeps what it finds; --upgrade for all would fetch all of it anew each time.
$(READY): setup.py
	@{ set -e; \
	$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo 'make: $(PYTHON3) is older than 3.10; say make PYTHON3=/path/to/a/newer/one'; \
	    exit 1; }; \
	echo 'Making the environment in $(VENV) (once)'; \
	$(PYTHON3) -m venv --clear $(if $(ROS_DISTRO),--system-site-packages) '$(VENV)' || { \
	    echo 'make: no venv module; on Debian and Ubuntu: apt install python3-venv'; exit 1; }; \
	'$(PYTHON)' -m pip install --quiet --disable-pip-version-check uv; \
	'$(PYTHON)' -m uv pip install --upgrade-package setuptools --python '$(PYTHON)' \
	    --editable '.[$(EXTRAS)]'; \
	touch $@; } >&2
