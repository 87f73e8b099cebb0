# The service on a CPU:
#   docker build -t facewire .
#   docker run --network host -v facewire:/data -e FACEWIRE_TOKEN=... facewire
# The service on an NVIDIA GPU, with the NVIDIA Container Toolkit and a driver for CUDA 13:
#   docker build --target cuda -t facewire-cuda .
#   docker run --gpus all --network host -v facewire:/data -e FACEWIRE_TOKEN=... facewire-cuda
# WebRTC sends video from the container's own addresses: --network host lets browsers reach them.
FROM python:3.13-slim AS base

WORKDIR /app
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY recognizer recognizer
COPY gallery gallery
COPY trainer trainer
COPY stream stream
RUN sed '/^# development/,$d' requirements.lock >/tmp/requirements.txt \
    && pip install --no-cache-dir --no-deps --require-hashes -r /tmp/requirements.txt \
    && pip install --no-cache-dir --no-deps --no-build-isolation . \
    && rm /tmp/requirements.txt

ENV FACEWIRE_CACHE=/data/cache FACEWIRE_DATA=/data
RUN useradd --create-home facewire && install -d -o facewire /data
USER facewire
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["facewire"]

FROM base AS cuda

# onnxruntime-gpu fills the same folder as onnxruntime: only one of them may
USER root
RUN pip uninstall --yes onnxruntime \
    && pip install --no-cache-dir 'onnxruntime-gpu[cuda,cudnn]>=1.31,<2'
USER facewire
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD ["serve", "--host", "0.0.0.0", "--device", "cuda"]

FROM base AS cluster

# Machines of a cluster, see docs/pages/cluster.md
USER root
RUN pip install --no-cache-dir 'psycopg[binary]>=3.3,<4' 'ray>=2.60,<3'
USER facewire

FROM cuda AS cluster-cuda

USER root
RUN pip install --no-cache-dir 'psycopg[binary]>=3.3,<4' 'ray>=2.60,<3'
USER facewire
CMD []

# the last is what is built by default
FROM base AS cpu

CMD ["serve", "--host", "0.0.0.0"]
