#!/bin/sh
# Make the virtual environment named by $1 from requirements.lock: pinned, checked by hash, nothing else.
# Needs Python 3.11 or newer with venv, and pip's access to a package index; says in one line what is missing.
set -eu
venv=$1
python=${PYTHON:-python3}

say() { printf '%s\n' "$*" >&2; }

command -v "$python" >/dev/null 2>&1 || { say "setup: $python is missing. On Debian: apt install python3 python3-venv"; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { say "setup: Python 3.11 or newer is needed, and $python is $("$python" -V 2>&1). Name another: make PYTHON=python3.12 …"; exit 1; }
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    { say "setup: $python has no venv. On Debian: apt install python3-venv"; exit 1; }

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
say "setup: installing the pinned packages into $venv (about a minute, once) …"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock ||
    { say "setup: pip could not install the pinned packages; its reason stands above. Run the same command again once it is mended."; exit 1; }
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
say "setup: ready."
