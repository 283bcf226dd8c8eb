# Two stages: the first has a compiler, for wheels that are built here and for the native kernel
# that setuptools compiles in the same ordinary install; the second has only what runs.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/mover
ENV PATH=/opt/mover/bin:$PATH
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY mover mover
COPY transports transports
COPY scheduler scheduler
COPY bench bench
ARG EXTRAS=gcs
RUN pip install --no-cache-dir --no-compile ".[${EXTRAS}]" && python -m compileall -q /opt/mover

FROM python:${PYTHON}-slim
# The state of jobs outlives a container only in a volume; without one, a job starts anew.
ENV PATH=/opt/mover/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MOVER_STATE=/var/lib/mover
RUN groupadd --gid 10001 mover \
    && useradd --uid 10001 --gid mover --no-create-home --home-dir /var/lib/mover mover \
    && install -d -o mover -g mover -m 0700 /var/lib/mover
COPY --from=build /opt/mover /opt/mover
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/mover
VOLUME /var/lib/mover
# SIGTERM drains: tasks under way end or are given back, and the same command goes on from there.
STOPSIGNAL SIGTERM
ENTRYPOINT ["mover"]
CMD ["--help"]
