# The server in a container; docs/quickstart.md has the commands.
FROM python:3.11-slim-bookworm AS build

RUN python -m venv /opt/chatter
ENV PATH=/opt/chatter/bin:$PATH
WORKDIR /src

# The lock alone first: as long as it stays the same, so does this layer.
COPY requirements/runtime.txt requirements/runtime.txt
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements/runtime.txt

COPY pyproject.toml hatch_build.py README.md LICENSE CHANGELOG.md ./
COPY protos protos
COPY chatter_grpc chatter_grpc
RUN pip wheel --no-build-isolation --no-deps --wheel-dir /dist . \
 && pip install --no-cache-dir --no-deps /dist/*.whl

# Extras of pyproject.toml, in the versions of the lock: --build-arg EXTRAS=anthropic,telemetry
ARG EXTRAS=""
COPY requirements/dev.txt requirements/dev.txt
RUN [ -z "$EXTRAS" ] || { \
      sed -nE 's/^([a-z0-9-]+)(\[[^]]*\])?(==[^ ]+).*/\1\3/p' requirements/dev.txt > constraints.txt \
   && pip install --no-cache-dir --constraint constraints.txt "$(echo /dist/*.whl)[$EXTRAS]"; }

RUN python -m compileall -q /opt/chatter/lib \
# What only the build needs, pip last.
 && pip uninstall --yes grpcio-tools hatchling mypy-protobuf setuptools types-protobuf pip


FROM python:3.11-slim-bookworm

COPY --from=build /opt/chatter /opt/chatter
RUN groupadd --system --gid 10001 chatter \
 && useradd --system --uid 10001 --gid chatter --no-create-home --home-dir /var/lib/chatter chatter \
 && install --directory --mode 0700 --owner chatter --group chatter /var/lib/chatter

# All settings are variables like these two; `chatter-grpc health` asks where the server listens.
ENV PATH=/opt/chatter/bin:$PATH \
    CHATTER_DATA_DIR=/var/lib/chatter \
    CHATTER_LISTEN=0.0.0.0:50051
USER 10001:10001
VOLUME /var/lib/chatter
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["chatter-grpc", "health"]
ENTRYPOINT ["chatter-grpc"]
CMD ["serve"]
