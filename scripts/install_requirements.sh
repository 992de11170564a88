#!/usr/bin/env bash
# Brings .venv to one lock file: scripts/install_requirements.sh serve|train|test|gpu
#
# Does nothing while the lock file is the one installed last. Otherwise it installs with uv, which
# takes seconds where pip takes half a minute, and with pip where uv cannot: uv itself comes from a
# hashed lock file, and both demand the hash of every package they install.
# WBCLAB_INSTALLER=pip leaves uv out.
set -euo pipefail

name=${1:?usage: scripts/install_requirements.sh serve|train|test|gpu}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lock=requirements/$name.txt
stamp=.venv/.installed-$name
python=.venv/bin/python

say() { printf '%s\n' "$*" >&2; }

find_python() {
    local candidate
    for candidate in "${WBCLAB_PYTHON:-python3.11}" python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s' "$candidate"
            return
        fi
    done
    say "wbclab needs Python 3.11 or later; neither python3.11 nor python3 is one."
    return 1
}

install_with_uv() {
    # A configured mirror is somebody's decision, and uv does not read pip's configuration.
    if [ "${WBCLAB_INSTALLER:-uv}" = pip ] || "$python" -m pip config list 2>/dev/null | grep -qE '[.]index-url='; then
        return 1
    fi
    UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-30} scripts/uv.sh pip install --quiet \
        --python "$python" --require-hashes -r "$lock"
}

install_with_pip() {
    "$python" -m pip install --no-input --disable-pip-version-check -qq --require-hashes -r "$lock"
}

digest_of() { cksum <"$1"; }

if [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(digest_of "$lock")" ]; then
    exit 0
fi

started=$SECONDS
if ! "$python" -c '' 2>/dev/null; then
    base=$(find_python)
    say "Creating .venv with $("$base" --version) ..."
    "$base" -m venv --clear .venv || {
        say "On Debian and Ubuntu the venv module is a package of its own: apt-get install python3-venv"
        exit 1
    }
fi
say "Installing $lock into .venv ..."
rm -f .venv/.installed-*
if ! install_with_uv; then
    say "Installing with pip (slower) ..."
    install_with_pip
fi
# Each lock file holds the ones before it, pin for pin, so installing it installs those as well.
case $name in
    train) holds=(serve train) ;;
    test) holds=(serve train test) ;;
    *) holds=("$name") ;;
esac
for held in "${holds[@]}"; do
    digest_of "requirements/$held.txt" >".venv/.installed-$held"
done
say "Installed in $((SECONDS - started)) s."
