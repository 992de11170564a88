# Two images from one file: `app` serves and classifies on a CPU, `gpu` classifies on an NVIDIA GPU.
#   docker build --target app -t wbclab .
#   docker build --target gpu -t wbclab-gpu .
# Both run as a user without rights, from a file system that may be mounted read-only.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS app-dependencies
WORKDIR /app
COPY requirements/uv.txt requirements/serve.txt requirements/
COPY scripts/install_requirements.sh scripts/uv.sh scripts/
RUN scripts/install_requirements.sh serve

FROM ${PYTHON_IMAGE} AS gpu-dependencies
WORKDIR /app
COPY requirements/uv.txt requirements/gpu.txt requirements/
COPY scripts/install_requirements.sh scripts/uv.sh scripts/
# The CUDA libraries come as Python packages; of the host only the driver is used.
RUN scripts/install_requirements.sh gpu

FROM scratch AS code
COPY manage.py LICENSE NOTICE /app/
COPY scripts/service.sh scripts/check_health.py /app/scripts/
COPY wbclab /app/wbclab
COPY specimens /app/specimens
COPY classifier /app/classifier
COPY templates /app/templates
COPY static /app/static

FROM ${PYTHON_IMAGE} AS runtime
RUN groupadd --system --gid 10001 wbclab \
    && useradd --system --uid 10001 --gid wbclab --home-dir /var/lib/wbclab --shell /usr/sbin/nologin wbclab \
    && install -d -o wbclab -g wbclab -m 0750 /var/lib/wbclab
ENV PYTHONUNBUFFERED=1 \
    WBCLAB_HOME=/var/lib/wbclab \
    WBCLAB_STATIC_ROOT=/app/staticfiles \
    WBCLAB_HOST=0.0.0.0 \
    WBCLAB_PORT=8000
WORKDIR /app
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["scripts/service.sh"]

FROM runtime AS gpu
COPY --from=gpu-dependencies /app/.venv .venv
COPY --from=code /app .
RUN .venv/bin/python -m compileall -q wbclab specimens classifier
ENV WBCLAB_ENGINE=tensorflow
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=15s --start-period=120s --retries=3 \
    CMD [".venv/bin/python", "scripts/check_health.py", "gpu-worker"]
CMD ["gpu-worker"]

# The last target is the one a plain `docker build .` makes. pg_dump is for manage.py backup.
FROM runtime AS app
RUN apt-get update \
    && apt-get install -y --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*
COPY --from=app-dependencies /app/.venv .venv
COPY --from=code /app .
RUN WBCLAB_HOME=/tmp/build .venv/bin/python manage.py collectstatic --noinput \
    && rm -rf /tmp/build \
    && .venv/bin/python -m compileall -q wbclab specimens classifier
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD [".venv/bin/python", "scripts/check_health.py", "web"]
CMD ["web"]
