#!/usr/bin/env bash
# Runs uv from its hashed lock file, out of a folder that is removed again: scripts/uv.sh ARGUMENTS
# 60 MB that only an installation needs have no place in .venv.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
.venv/bin/python -m pip install -qq --no-input --disable-pip-version-check \
    --require-hashes --target "$folder" -r requirements/uv.txt
"$folder/bin/uv" --no-config "$@"
