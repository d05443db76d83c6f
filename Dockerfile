# The exporter on any base that has Python 3.11 or newer with its venv; the second stage runs nothing of it.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
# pip and setuptools stay with the tools, outside of what is copied.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/venv && mkdir state
COPY .ci/*.lock ./
RUN tools/bin/pip install --no-cache-dir --require-hashes --only-binary=:all: -r build.lock \
 && tools/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --require-hashes \
    --only-binary=:all: -r requirements.lock
COPY LICENSE README.md pyproject.toml ./
COPY exporter exporter
# Nothing can be compiled later, under a read-only root, and some bases come without the bytecode of Python itself:
# a start that had to compile it would take twice the time, and a probe four times. Not by the files' times, which a
# copy rounds.
RUN tools/bin/pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir=dist . \
 && tools/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-deps dist/*.whl \
 && python3 -X pycache_prefix=/opt/venv/bytecode -m compileall -f -q --invalidation-mode=unchecked-hash \
    -x '/(dist-packages|ensurepip|idlelib|lib2to3|pip|pydoc_data|setuptools|test|tests|tkinter)/' \
    "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" /opt/venv/lib

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/venv /opt/venv
# A volume that is made here is writable, for state.path.
COPY --from=build --chown=65532:65532 /build/state /var/lib/cortex-xdr-exporter
# Where config.yaml is looked for is no place for code to be loaded from: PYTHONSAFEPATH.
ENV PATH=/opt/venv/bin:$PATH PYTHONPYCACHEPREFIX=/opt/venv/bytecode PYTHONSAFEPATH=1
WORKDIR /etc/cortex-xdr-exporter
USER 65532:65532
EXPOSE 10642
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["python", "-m", "exporter.probe"]
ENTRYPOINT ["cortex-xdr-exporter"]
ARG VERSION=0.1.0
ARG REVISION=
ARG CREATED=
LABEL org.opencontainers.image.title="cortex-xdr-exporter" \
      org.opencontainers.image.description="Prometheus exporter for the progress of Cortex XDR script executions" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
