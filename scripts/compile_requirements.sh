#!/usr/bin/env bash
# Compiles requirements/*.in to lock files: hashes, every platform, no address of any index.
# Each is constrained by the one before it, so that a larger set never moves a smaller one.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

compile() {
    local name=$1
    shift
    scripts/uv.sh pip compile --quiet --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
        "requirements/$name.in" --output-file "requirements/$name.txt" "$@"
}

compile uv "$@"
compile serve "$@"
compile train --constraint requirements/serve.txt "$@"
compile test --constraint requirements/train.txt "$@"
compile gpu --constraint requirements/serve.txt "$@"
