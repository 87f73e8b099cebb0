"""Print who enters and leaves the view: scripts/cctv.py door=rtsp://user:pass@host/live ..."""

import asyncio
import contextlib
import sys

from stream.config import load_config, parse_camera
from stream.service import Service


async def watch(cameras: list[str]) -> None:
    """Print every event until Ctrl-C; people are those of `facewire gallery list`."""
    tables = [parse_camera(camera) for camera in cameras]
    config = load_config(overrides={"cameras": {"list": tables}})
    async with Service.open(config) as service:
        async for event in service.journal.subscribe():
            print(event.at, event.camera, event.kind, event.name or event.detail, flush=True)


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(watch(sys.argv[1:]))
