#!/usr/bin/env bash
# Sets up what the tests need and runs them, a process a core (4 at most: each takes about 2 GiB). Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/install.sh test
exec python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder "$@"
