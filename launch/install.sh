#!/usr/bin/env bash
# Creates the virtual environment .venv and installs avlearn into it, unless it is up to date; then activates it.
# Usage: source launch/install.sh [EXTRA], where EXTRA is test, cuda or tpu. AVLEARN_VENV sets another directory.
venv="${AVLEARN_VENV:-.venv}"
python="${PYTHON:-python3}"
extra="${1:-}"
stamp="$venv/.avlearn${extra:+-$extra}"
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "error: avlearn needs Python 3.11 or later; $python is $("$python" --version 2>&1). Choose another with PYTHON=..." >&2
  exit 1
fi
if [ ! -e "$stamp" ] || [ setup.py -nt "$stamp" ]; then
  echo "Installing into $venv (a few minutes) ..."
  "$python" -m venv "$venv"
  # Bytecode is compiled at the first import: two thirds of the installed files are never imported.
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --editable ".${extra:+[$extra]}"
  touch "$stamp"
fi
bin="$(cd "$venv/bin" && pwd)"
export PATH="$bin:$PATH"
