# Two images from one base: `api` without torch, `worker` with it.
#
#   docker build --target api -t lethe-api .
#   docker build --target worker -t lethe-worker .                            (CPU)
#   docker build --target worker --build-arg DEVICE=cuda -t lethe-worker .    (CUDA)

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV LETHE_HOME=/var/lib/lethe \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1
RUN groupadd --gid 10001 lethe \
 && useradd --uid 10001 --gid lethe --home-dir /var/lib/lethe --no-create-home \
      --shell /usr/sbin/nologin lethe \
 && install --directory --owner lethe --group lethe --mode 700 /var/lib/lethe
WORKDIR /opt/lethe
# The dependencies first, without the sources, so that a change of code does not fetch them again.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN pip install -c constraints.txt ".[s3]"

FROM base AS api
COPY app app
COPY workers workers
COPY migrations migrations
RUN pip install --no-deps .
WORKDIR /var/lib/lethe
USER lethe
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
CMD ["python", "-m", "uvicorn", "app.api.main:create_app", "--factory", \
     "--host", "0.0.0.0", "--port", "8080", "--log-level", "warning", "--no-access-log", \
     "--no-server-header", "--timeout-graceful-shutdown", "5"]

FROM base AS worker
# The package index serves torch for CUDA; PyTorch's own index serves it without.
ARG DEVICE=cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN case "$DEVICE" in \
      cpu) pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)" ;; \
      cuda) ;; \
      *) echo "DEVICE is cpu or cuda" >&2; exit 1 ;; \
    esac \
 && pip install -c constraints.txt ".[s3,worker]"
COPY app app
COPY workers workers
COPY migrations migrations
RUN pip install --no-deps .
WORKDIR /var/lib/lethe
USER lethe
HEALTHCHECK --interval=20s --timeout=10s --start-period=60s --retries=3 \
  CMD ["python", "-m", "app.cli.pulse", "worker"]
CMD ["lethe", "worker"]
