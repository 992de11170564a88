#!/usr/bin/env bash
# Starts one service of the production mode: scripts/service.sh ROLE
#
# The one place that knows these commands: docker-compose.yml and the tests both start them here.
# Everything else is environment; docs/deployment.md has the table.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${WBCLAB_PYTHON:-.venv/bin/python}

case "${1:-}" in
    web)
        # The web processes count together in files of this folder; each start begins with none.
        if env | grep -q '^WBCLAB_METRICS_TOKEN'; then # the token itself, or the file it is in
            PROMETHEUS_MULTIPROC_DIR=$(mktemp -d -t wbclab-metrics.XXXXXX)
            export PROMETHEUS_MULTIPROC_DIR
        fi
        # Without a proxy nobody's X-Forwarded-For is believed: lock-outs go by the address.
        behind_proxy=${WBCLAB_BEHIND_PROXY:-0}
        case "${behind_proxy,,}" in # the words that wbclab/environment.py takes for yes
            1 | true | yes | y | on | ok) forwarded=--proxy-headers ;;
            *) forwarded=--no-proxy-headers ;;
        esac
        exec "$python" -m uvicorn wbclab.asgi:application --http wbclab.http_head:BoundedHead "$forwarded" \
            --host "${WBCLAB_HOST:-127.0.0.1}" --port "${WBCLAB_PORT:-8000}" \
            --workers "${WBCLAB_WEB_WORKERS:-2}" --no-server-header --lifespan off \
            --no-access-log --log-level warning
        ;;
    worker | gpu-worker)
        # One process, one task at a time: the batch is formed in the claim, not in the pool. A GPU
        # worker is the same command in another image, with WBCLAB_ENGINE=tensorflow. Django's checks
        # would load every page here, and 40 MB with them.
        exec "$python" -m celery -A wbclab --quiet --skip-checks worker --queues classify --pool solo --concurrency 1 \
            --prefetch-multiplier 1 --hostname "${1}-${WBCLAB_WORKER_NAME:-$$}@%h"
        ;;
    sweeper)
        exec "$python" manage.py sweep
        ;;
    deliverer)
        exec "$python" manage.py delivery_worker
        ;;
    dicom-listener)
        exec "$python" manage.py dicom_listener
        ;;
    hl7-listener)
        exec "$python" manage.py hl7_listener
        ;;
    migrate)
        # Behind a long query it would make everybody else wait: rather fail, and be run again.
        export WBCLAB_LOCK_SECONDS=${WBCLAB_LOCK_SECONDS:-5}
        exec "$python" manage.py migrate --noinput
        ;;
    manage)
        # For a person: docker compose run --rm web manage createsuperuser
        shift
        exec "$python" manage.py "$@"
        ;;
    *)
        echo "usage: scripts/service.sh web|worker|gpu-worker|sweeper|deliverer|dicom-listener|hl7-listener|migrate|manage" >&2
        exit 64
        ;;
esac
