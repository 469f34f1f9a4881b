#!/usr/bin/env bash
# Sets up what the tests need and runs them. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/install.sh test
exec python -m pytest "$@"
