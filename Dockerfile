# The image: a wheel built once, then a root with a Python, the wheel, what they load, and nothing else. No shell, no
# package manager, no root user.
#
# Base images are arguments, so that it also builds where no public registry is at hand:
#   podman build --format docker --build-arg RUST=… --build-arg PYTHON=… -t interlock .
# `--build-arg LOCK=otel` makes one that can export spans. A folder with a wheel in dist/ saves building one:
# `--build-context wheel=FOLDER`. `--target full` stops before the root is laid out: an image with a shell and a package
# manager, to build one upon for MCP servers that Interlock starts itself.
ARG RUST=docker.io/library/rust:1-slim-bookworm
ARG PYTHON=docker.io/library/python:3.13-slim-bookworm

FROM ${RUST} AS wheel
# Compiled twice: the first build shows which code is hot. Empty for one build, and without rustup.
ARG PGO=--pgo
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python3 -m venv /venv && /venv/bin/pip install --no-cache-dir 'maturin>=1.16,<2'
RUN [ -z "${PGO}" ] || rustup component add llvm-tools
COPY Cargo.toml Cargo.lock pyproject.toml README.md LICENSE ./
COPY rust rust
COPY python python
RUN /venv/bin/maturin build --release ${PGO} --locked --strip --out /dist

FROM ${PYTHON} AS full
ARG LOCK=runtime
COPY python/locks/${LOCK}.txt /tmp/build/lock.txt
COPY image /tmp/build/image
COPY --from=wheel /dist /tmp/build/dist
RUN python3 -m venv /opt/interlock \
    && /opt/interlock/bin/pip install --no-cache-dir --require-hashes -r /tmp/build/lock.txt \
    && /opt/interlock/bin/pip install --no-cache-dir --no-deps /tmp/build/dist/*.whl \
    && cp /tmp/build/image/healthcheck.py /opt/interlock/
ENV PATH=/opt/interlock/bin:$PATH INTERLOCK_STATE=memory
ENTRYPOINT ["/opt/interlock/bin/interlock"]
CMD ["run"]

FROM full AS root
RUN /opt/interlock/bin/python /tmp/build/image/assemble.py /rootfs

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="Interlock" \
      org.opencontainers.image.description="Decides every MCP tool call of an agent before it reaches a server" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=root /rootfs /
# A number, not a name: Kubernetes checks `runAsNonRoot` against it. The root file system may be read-only.
USER 10001:10001
ENV PATH=/opt/interlock/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt INTERLOCK_STATE=memory
EXPOSE 8080 9090
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["/opt/interlock/bin/python", "-I", "/opt/interlock/healthcheck.py"]
ENTRYPOINT ["/opt/interlock/bin/interlock"]
CMD ["run"]
