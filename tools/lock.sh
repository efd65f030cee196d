#!/bin/sh
# Write requirements.lock from pyproject.toml: every package of the development set with its hashes, for every
# Python from 3.11 on, and without the address of any index, so that each reader uses their own.
set -eu
venv=$1
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
"$venv/bin/uv" pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-annotate --no-emit-package tbox \
    --custom-compile-command 'make lock' --quiet --output-file requirements.lock
grep -nE 'https?://' requirements.lock && { echo 'lock: an address got in' >&2; exit 1; }
echo "lock: $(grep -c '==' requirements.lock) packages"
