# The sidecar's image: a wheel built once, then a slim base with an optimised Python and nothing to build with.
# Base images are arguments, so that it also builds where no public registry is at hand:
#   podman build --build-arg RUST=… --build-arg PYTHON=… -t interlock .
ARG RUST=docker.io/library/rust:1-slim-bookworm
ARG PYTHON=docker.io/library/python:3.13-slim-bookworm

FROM ${RUST} AS wheel
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python3 -m venv /venv && /venv/bin/pip install --no-cache-dir 'maturin>=1.9.4,<2'
COPY Cargo.toml Cargo.lock pyproject.toml README.md LICENSE ./
COPY rust rust
COPY python python
RUN /venv/bin/maturin build --release --locked --strip --out /dist

FROM ${PYTHON}
LABEL org.opencontainers.image.title="Interlock" \
      org.opencontainers.image.description="Decides every MCP tool call of an agent before it reaches a server" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY python/locks/runtime.txt /tmp/runtime.txt
COPY --from=wheel /dist/*.whl /tmp/
RUN pip install --no-cache-dir --no-compile --require-hashes -r /tmp/runtime.txt \
    && pip install --no-cache-dir --no-deps /tmp/*.whl && rm -rf /tmp/*
# A number, not a name: Kubernetes checks `runAsNonRoot` against it. The root file system may be read-only.
USER 65532:65532
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 INTERLOCK_STATE=memory
EXPOSE 8080 9090
ENTRYPOINT ["interlock"]
CMD ["run"]
