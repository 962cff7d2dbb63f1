# Every target first brings .venv up to date: the pinned dependencies, then the extension. Both steps are
# files with a date, so a second run costs nothing. Needs python3 (3.11 or newer), gcc or clang, and make.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
TOOLS := $(VENV)/.tools
DEPENDENCIES := $(VENV)/.dependencies
BUILT := $(VENV)/.built
EXTENSION := $(VENV)/.extension# what was built, with all that it is used with
BUILD := build/dev
CPP := CMakeLists.txt $(shell find cpp -type f)
FOLDERS := $(shell find src -type d -not -name __pycache__)# dates change with the files in them, which an editable install lists
# Programs of JAX are compiled as fast as XLA can, since tests compile thousands, to run each once; without these flags, of which XLA
# takes no unknown one, run `make coverage` and pytest itself.
PYTEST := OMP_NUM_THREADS=1 \
  XLA_FLAGS="--xla_force_host_platform_device_count=4 --xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0" python -m pytest
JOBS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)

export PATH := $(abspath $(VENV)/bin):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_CONSTRAINT := $(abspath constraints.txt)
unexport PYTHONDONTWRITEBYTECODE # each of the hundred processes that tests start would compile all that it imports

.PHONY: help demo test coverage clusters bench lint tidy docs format sanitize gpu-sanitize wheel aarch64 clean
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make demo      train a portfolio model through the layer on real prices; a table, and curves in out/
demo: $(EXTENSION)
	@python examples/portfolio_demo.py $(ARGS)

## make test      C++ tests, Python tests, and the selection marked isa under the other instruction sets of this machine
test: $(EXTENSION)
	@cmake -S . -B $(BUILD) -DCVXL_TESTS=ON -DCMAKE_COMPILE_WARNING_AS_ERROR=ON \
	  "-DCVXL_TEST_SETS=$$(python -m cvxpylayers --instruction-sets | paste -s -d ';' -)" > /dev/null
	cmake --build $(BUILD)
	ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)
	$(PYTEST) -n $(JOBS) --dist worksteal $(ARGS)
	@set -e; for isa in $$(python -m cvxpylayers --instruction-sets | tail -n +2); do \
	  echo "instruction set $$isa"; CVXPYLAYERS_ISA=$$isa $(PYTEST) -q -n $(JOBS) --dist worksteal -m isa tests/native; done

## make coverage  the Python tests once more, and which lines of the package they run; processes that they start count
coverage: $(EXTENSION)
	rm -f .coverage*
	JAXTYPING_DISABLE=1 OMP_NUM_THREADS=1 coverage run -m pytest -p no:xdist $(ARGS)
	coverage combine --quiet
	coverage report

## make clusters  the tests on Ray and Spark, which are installed for it; Spark needs Java
clusters: $(EXTENSION)
	pip install --quiet -r tests/tables/clusters.txt
	OMP_NUM_THREADS=1 python -m pytest tests/tables/test_ray.py tests/tables/test_spark.py $(ARGS)

## make bench     measure against the published peers, each in its own environment; ARGS="--help" for choices
bench: $(EXTENSION)
	python -m benchmarks $(ARGS)

## make lint      ruff (rules and format), clang-format, mypy --strict, codespell
lint: $(DEPENDENCIES)
	ruff check .
	ruff format --check .
	clang-format --dry-run --Werror $(filter %.hpp %.cpp, $(CPP))
	mypy
	codespell

## make tidy      clang-tidy on every header and source of the kernel, as compiled for one instruction set
tidy: $(DEPENDENCIES)
	cmake -S . -B build/tidy -G Ninja -DCVXL_TESTS=OFF -DCVXL_PYTHON=OFF -DCVXL_SETS=baseline -DCMAKE_EXPORT_COMPILE_COMMANDS=ON > /dev/null
	echo cpp/src/*/*.cpp | xargs -P $(JOBS) -n 1 clang-tidy --quiet -p build/tidy

## make wheel     wheels into dist/, audited, each tried in a fresh environment of every Python that is found; EXTRAS=torch
wheel: $(DEPENDENCIES)
	.ci/wheel

## make aarch64   the C++ tests for ARM, by Debian's g++-aarch64-linux-gnu, under emulation by its qemu-user; half an hour
aarch64: $(DEPENDENCIES)
	cmake -S . -B build/aarch64 -G Ninja -DCVXL_TESTS=ON -DCVXL_PYTHON=OFF -DCMAKE_COMPILE_WARNING_AS_ERROR=ON \
	  -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
	  "-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64;-L;/usr/aarch64-linux-gnu"
	cmake --build build/aarch64
	CVXL_EMULATED=1 ctest --test-dir build/aarch64 --output-on-failure --timeout 10000

## make docs      build the pages into build/site, and run the gallery; a warning, such as a broken link, is an error
docs: $(EXTENSION)
	OMP_NUM_THREADS=1 sphinx-build --quiet --fail-on-warning --keep-going -d build/doctrees $(ARGS) docs build/site

## make format    rewrite the sources in the house format
format: $(DEPENDENCIES)
	ruff check --fix .
	ruff format .
	clang-format -i $(filter %.hpp %.cpp, $(CPP))

## make sanitize  C++ and selected Python tests and tampered layer files under ASan, UBSan and assertions, the thread pool under TSan
# The Python tests run without the site module, so that the sanitized copy of the package hides the editable install.
sanitize: $(DEPENDENCIES)
	cmake -S . -B build/asan -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCVXL_TESTS=ON -DCVXL_ASSERT=ON -DCVXL_SANITIZE=address,undefined -DPython_EXECUTABLE=$(abspath $(PY))
	cmake --build build/asan
	ctest --test-dir build/asan --output-on-failure
	rm -rf build/asan/site && mkdir -p build/asan/site && cp -r src/cvxpylayers build/asan/site/
	cmake --install build/asan --prefix build/asan/site
	PYTHONPATH=build/asan/site:$$(python -c 'import sysconfig; print(sysconfig.get_path("platlib"))') OMP_NUM_THREADS=1 \
	  LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 \
	  sh -c 'python -S -m pytest -q -p no:cacheprovider -m isa && PYTHONPATH=.:$$PYTHONPATH python -S -m benchmarks.campaigns.fuzz_layers'
	cmake -S . -B build/tsan -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCVXL_TESTS=ON -DCVXL_PYTHON=OFF -DCVXL_SANITIZE=thread
	cmake --build build/tsan
	TSAN_OPTIONS=halt_on_error=1 ctest --test-dir build/tsan --output-on-failure

## make gpu-sanitize  small batches on a card under compute-sanitizer: races, memory, what is read before it is written
gpu-sanitize: $(EXTENSION)
	@set -e; for tool in racecheck memcheck initcheck; do \
	  compute-sanitizer --tool $$tool --error-exitcode 1 --kernel-name kernel_substring=cvxl_ python -m benchmarks.micro.gpu --small --seconds 0; done

## make clean     remove what was built; .venv stays
clean:
	rm -rf build dist out docs/gallery $(BUILT) $(EXTENSION)

$(TOOLS): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --no-compile cmake ninja \
	  $$($(PY) -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['build-system']['requires'])")
	@touch $@

# Most modules are never imported, so none is compiled before it is. skfolio is wanted for the prices inside its wheel alone, so its
# own dependencies stay out.
$(DEPENDENCIES): $(TOOLS)
	$(PY) -m pip install --quiet --no-compile $$($(PY) -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
	  e = p['optional-dependencies']; print(*p['dependencies'], *(r for k in ('torch', 'jax', 'mlx', 'solvers', 'tables', 'dask', 'docs', 'dev') for r in e[k]))")
	$(PY) -m pip install --quiet --no-compile --no-deps skfolio
	@touch $@

# Beside the dependencies, by `make -j`: the extension is compiled with the tools alone.
$(BUILT): $(TOOLS) $(CPP) $(FOLDERS)
	$(PY) -m pip install --quiet --no-build-isolation --no-deps --config-settings build-dir=$(BUILD) \
	  --config-settings cmake.define.CMAKE_COMPILE_WARNING_AS_ERROR=ON --editable .
	@touch $@

$(EXTENSION): $(DEPENDENCIES) $(BUILT)
	@touch $@
