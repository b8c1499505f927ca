# The programs in a container, for the CPU (default) or NVIDIA GPUs.
#
#   docker build -t ddpm .
#   docker run --rm -v "$PWD:/work" ddpm ddpm-train --data photos
#
#   docker build -t ddpm-cuda --target cuda .
#   docker run --rm --gpus all -v "$PWD:/work" ddpm-cuda ddpm-train --data photos
#
# The compute capability of the GPU is fixed when the programs are built: 80 for an A100, 89 for an RTX 4090, 90 for an
# H100. For another one: --build-arg CUDA_COMPUTE_CAP=80.

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked -p ddpm-train -p ddpm-sample

FROM nvidia/cuda:13.0.1-cudnn-devel-ubuntu24.04 AS build-cuda
ARG CUDA_COMPUTE_CAP=90
RUN apt-get update && apt-get install -yq --no-install-recommends curl ca-certificates gcc libc6-dev git \
    && rm -rf /var/lib/apt/lists/*
RUN curl -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain 1.95
ENV PATH=/root/.cargo/bin:$PATH CUDA_COMPUTE_CAP=$CUDA_COMPUTE_CAP
WORKDIR /source
COPY . .
RUN cargo build --release --locked --features ddpm-train/cuda,ddpm-sample/cuda -p ddpm-train -p ddpm-sample

FROM nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04 AS cuda
COPY --from=build-cuda /source/target/release/ddpm-train /source/target/release/ddpm-sample /usr/local/bin/
WORKDIR /work
CMD ["ddpm-train", "--help"]

# The last stage is the default.
FROM debian:bookworm-slim
COPY --from=build /source/target/release/ddpm-train /source/target/release/ddpm-sample /usr/local/bin/
WORKDIR /work
CMD ["ddpm-train", "--help"]
