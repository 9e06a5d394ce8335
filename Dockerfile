# rgbx in a container, with its kernels: docker build -t rgbx .
# for an NVIDIA GPU:                     docker build -t rgbx:cuda --build-arg DEVICE=cuda .
ARG DEVICE=cpu

FROM python:3.12-slim-bookworm AS build-cpu
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
ENV TORCH_INDEX=https://download.pytorch.org/whl/cpu RGBX_BUILD_CUDA=0

FROM nvidia/cuda:13.0.0-devel-ubuntu24.04 AS build-cuda
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
ENV TORCH_INDEX=https://pypi.org/simple RGBX_BUILD_CUDA=1

FROM python:3.12-slim-bookworm AS run-cpu

FROM nvidia/cuda:13.0.0-base-ubuntu24.04 AS run-cuda
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*

# hadolint ignore=DL3006
FROM build-${DEVICE} AS build
ARG EXTRAS=export,serve
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/rgbx/bin:$PATH
WORKDIR /source
COPY constraints.txt ./
# Torch is the largest part and changes least; constraints.txt says which.
# hadolint ignore=DL3013
RUN python3 -m venv /opt/rgbx \
    && pip install -c constraints.txt --index-url "${TORCH_INDEX}" torch torchvision \
    && pip install "setuptools>=77"
COPY pyproject.toml setup.py README.md LICENSE ./
COPY configs configs
COPY data/samples data/samples
COPY benchmarks/results benchmarks/results
COPY rgbx rgbx
# Without isolation the build finds torch, and with it compiles the kernels.
RUN pip install --no-build-isolation -c constraints.txt ".[${EXTRAS}]"

# hadolint ignore=DL3006
FROM run-${DEVICE} AS run
RUN useradd --no-create-home --uid 10001 rgbx
COPY --from=build /opt/rgbx /opt/rgbx
# A home for whatever user the container is run as, see docs/docker.md.
ENV PATH=/opt/rgbx/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
USER 10001
WORKDIR /data
ENTRYPOINT ["rgbx"]
CMD ["--help"]
