#!/bin/sh
# Every check there is, in a fresh environment if need be. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
EXTRA=test
. scripts/env.sh

# Tests run side by side; torch threads on top would only get in each other's way.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
.venv/bin/lint-imports
exec .venv/bin/python -m pytest -q -n "${TEST_PROCESSES:-2}" "$@"
