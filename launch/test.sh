#!/usr/bin/env bash
# Installs the test dependencies and runs the tests in one process per core (at most 4, each takes up to 6 GiB).
# Arguments are passed to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/install.sh test
exec python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder "$@"
