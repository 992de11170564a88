#!/usr/bin/env bash
# Everything that is checked without running the platform. All of it runs, then the first failure counts.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
export WBCLAB_HOME=$home
unset WBCLAB_DATABASE_URL WBCLAB_REDIS_URL WBCLAB_DEMO WBCLAB_DEBUG

failed=()
step() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        printf 'ok      %s\n' "$name"
    else
        printf '%s\nFAILED  %s\n' "$output" "$name"
        failed+=("$name")
    fi
}

check_deploy() {
    local key
    key=$("$python" -c 'import secrets; print(secrets.token_urlsafe(64))')
    env WBCLAB_HTTPS=1 WBCLAB_BEHIND_PROXY=1 WBCLAB_SECRET_KEY="$key" \
        WBCLAB_ALLOWED_HOSTS=lab.example.org WBCLAB_CSRF_TRUSTED_ORIGINS=https://lab.example.org \
        "$python" manage.py check --deploy --fail-level WARNING
}

step "ruff check" "$python" -m ruff check .
step "ruff format" "$python" -m ruff format --check .
step "mypy" "$python" -m mypy
step "import layers" .venv/bin/lint-imports
step "bandit" "$python" -m bandit --quiet --configfile pyproject.toml --recursive wbclab classifier specimens
step "migrations" "$python" manage.py makemigrations --check --dry-run
step "check --deploy" check_deploy
step "shell scripts" bash -c 'for script in scripts/*.sh .ci/run; do bash -n "$script" || exit 1; done'

if [ ${#failed[@]} -gt 0 ]; then
    printf 'lint failed: %s\n' "${failed[*]}"
    exit 1
fi
