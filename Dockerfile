# The service on a CPU:
#   docker build -t facewire .
#   docker run --network host -v facewire:/data -e FACEWIRE_TOKEN=... facewire
# WebRTC sends video from the container's own addresses: --network host lets browsers reach them.
FROM python:3.13-slim

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
CMD ["serve", "--host", "0.0.0.0"]
