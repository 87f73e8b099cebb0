"""The running service: cameras, recognition, events and viewers combined."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import cv2

from gallery import Gallery, replacing
from gallery.private_files import make_private_directory
from recognizer import (
    Progress,
    Recognizer,
    default_cache,
    fetch_photos,
    open_recognizer,
)
from stream.cameras.camera import CameraState
from stream.cameras.registry import Cameras
from stream.cameras.store import CameraStore
from stream.config import CameraConfig, Config, data_dir
from stream.demo.scene import enrol_demo
from stream.enrollment.doubts import Doubts
from stream.enrollment.gallery_worker import WAIT_S, GalleryWorker
from stream.enrollment.naming import Matching
from stream.events.log import EventLog
from stream.events.recorder import Journal
from stream.events.search_worker import SearchWorker
from stream.events.visits import VisitRules
from stream.events.webhook_queue import Outbox, forget_others, hook_keys
from stream.ice import IceServers
from stream.integrations.webhooks import Webhook
from stream.metrics.figures import Figures
from stream.naming import FaceNaming
from stream.recognition.photo_worker import PhotoWorker
from stream.recognition.pipeline import Pipeline
from stream.recognition.worker import Inference
from stream.service_lock import announced, only_service
from stream.supervisor import Supervisor
from stream.visitors.assignment import JoinLimits
from stream.visitors.book import VisitorBook
from stream.webrtc.peers import Peers

logger = logging.getLogger(__name__)

STOP_TIMEOUT_S = 1.0
"""How long a stop waits for the inference thread, the peers and a camera, each."""

DEMO_CAMERA = CameraConfig(name="demo", url="demo:")


class Service:
    """Cameras in, packets and events out. `Service.open` creates, starts and stops it.

    Its parts do the work; the service itself reports its health.

    Attributes:
        visit_rules: how events become visits.
        recognizer: finds and embeds the faces of live frames, in the inference thread.
        cameras: every camera by name.
        inference: the inference thread.
        pipeline: runs in the inference thread, and is used only there.
        photo_worker: recognition of photos, beside live video.
        gallery: the enrolled identities.
        gallery_worker: runs reads and writes of the gallery's file.
        matching: threshold and margin of a match.
        naming: enrolls faces from cameras and events under a name.
        doubts: photos refused in the last minutes, by person.
        event_log: past events.
        visitors: unknown people who come again; used only in the journal's thread.
        journal: writes past events and publishes new ones.
        search: finds faces among past sightings.
        webhooks: one for each receiver of events.
        peers: WebRTC connections.
        leaving: the tasks of cameras whose sender has left.
        figures: the histograms of /metrics.
        supervisor: restarts threads and tasks that fail.
        is_demo: whether the demo camera is shown.
    """

    def __init__(
        self,
        config: Config,
        recognizer: Recognizer,
        gallery: Gallery,
        event_log: EventLog,
        *,
        camera_store: CameraStore,
        open_another: Callable[..., Recognizer],
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self.recognizer = recognizer
        self.gallery = gallery
        self.event_log = event_log
        self.is_demo = config.is_demo
        self.supervisor = Supervisor(clock=clock)
        self.leaving = self.supervisor.watch("cameras that leave")
        self.peers = Peers(
            IceServers(
                config.video.ice_servers, secret=config.video.turn_secret, wall_clock=time.time
            ),
            supervisor=self.supervisor,
            max_peers=config.server.max_viewers,
        )
        self.figures = Figures()
        self.matching = Matching(
            recognizer,
            gallery,
            threshold=config.gallery.threshold,
            margin=config.gallery.margin,
        )
        self.visitors = VisitorBook(
            event_log,
            gallery,
            limits=JoinLimits.of(self.matching.limits),
            threshold=lambda: self.matching.threshold,
            is_enabled=config.visitors.enabled,
            keep_days=config.visitors.keep_days,
        )
        event_log.keeper = self.visitors
        self.pipeline = Pipeline(
            recognizer,
            gallery,
            threshold=self.matching.threshold,
            margin=self.matching.margin,
            limits=self.matching.limits,
            confirm_s=config.events.confirm_s,
            absence_s=config.events.absence_s,
            camera_away_s=config.events.camera_away_s,
            cooldown_s=config.events.cooldown_s,
            still_scan_s=config.recognizer.still_scan_s,
        )
        self.visit_rules = VisitRules(
            live_run=self.pipeline.run_id,
            gap_s=config.events.visit_gap_s,
            zone=config.events.zone,
        )
        self.pipeline.gather_strangers(lambda: self.visitors.is_enabled)
        self.webhooks = _open_webhooks(config, self.supervisor)
        self.journal = Journal(
            event_log,
            listeners=[webhook.offer for webhook in self.webhooks],
            figures=self.figures,
            supervisor=self.supervisor,
            loop=loop,
            clock=clock,
        )
        self.inference = Inference(
            self.pipeline,
            show=lambda result: self.cameras.show(result),
            log=self.journal.log,
            keep=self.journal.keep,
            figures=self.figures,
            supervisor=self.supervisor,
            clock=clock,
        )
        self.gallery_worker = GalleryWorker(
            gallery,
            threshold=self.matching.threshold_now,
            changed=self._people_changed,
            applied=self.inference.gallery_applied,
            supervisor=self.supervisor,
            clock=clock,
        )
        self.cameras = Cameras(
            camera_store,
            self.inference,
            self.pipeline,
            recognizer,
            min_face_px=config.recognizer.min_face_px,
            bitrate_kbps=config.video.bitrate_kbps,
            log=self.journal.log,
            renamed=self.journal.rename_camera,
            figures=self.figures,
            supervisor=self.supervisor,
            clock=clock,
        )
        self._clock = clock
        self.photo_worker = PhotoWorker(open_another, supervisor=self.supervisor)
        self.search = SearchWorker(
            config.gallery_directory,
            model_id=recognizer.model_id,
            embedding_size=recognizer.embedding_size,
            supervisor=self.supervisor,
        )
        self.doubts = Doubts()
        self.naming = FaceNaming(
            cameras=self.cameras,
            inference=self.inference,
            pipeline=self.pipeline,
            recognizer=recognizer,
            gallery=gallery,
            gallery_worker=self.gallery_worker,
            matching=self.matching,
            event_log=event_log,
            journal=self.journal,
            visitors=self.visitors,
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        config: Config,
        *,
        progress: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> AsyncIterator[Self]:
        """Open models, gallery and event log, start the cameras, and stop everything at the end.

        Raises:
            RecognizerError: if a model cannot be fetched or opened.
            GalleryError: if the gallery cannot be opened.
            StreamError: if the configuration cannot be applied.
        """
        settings = config.recognizer
        open_one = partial(
            open_recognizer,
            device=settings.device,
            precision=settings.precision,
            threads=settings.threads,
            model=settings.model,
            gender_age_model=settings.gender_age_model,
            min_face_px=settings.photo_min_face_px,
        )
        directory = config.gallery_directory
        if config.gallery.directory is None:
            with suppress(OSError):  # the next file opened in it reports why
                make_private_directory(data_dir(), own=("demo", "gallery", "services"))
        with ExitStack() as stack:
            # Its threads share steps of microseconds and take more processor time to wait for one
            # another than the steps need: 0.4 ms a frame with eight cameras. No step got slower.
            stack.callback(cv2.setNumThreads, cv2.getNumThreads())
            cv2.setNumThreads(1)
            stack.enter_context(only_service(directory))
            replacing.discard(directory)
            stack.enter_context(announced(directory, data=data_dir(), settings=_shared(config)))
            recognizer = await asyncio.to_thread(open_one, progress=progress)
            camera_store = CameraStore.open(directory, config.cameras or (DEMO_CAMERA,))
            gallery = stack.enter_context(
                Gallery.open(
                    directory,
                    model_id=recognizer.model_id,
                    embedding_size=recognizer.embedding_size,
                    wait_s=WAIT_S,
                )
            )
            event_log = stack.enter_context(
                EventLog.open(
                    directory,
                    keep_days=config.events.keep_days,
                    keep_bytes=int(config.events.keep_mib * 2**20),
                )
            )
            if config.is_demo:
                photos = await asyncio.to_thread(fetch_photos, default_cache(), progress)
                await asyncio.to_thread(enrol_demo, gallery, recognizer, photos)
            recognizer.set_min_face_px(settings.min_face_px)
            await asyncio.to_thread(event_log.follow, gallery)
            service = cls(
                config,
                recognizer,
                gallery,
                event_log,
                camera_store=camera_store,
                open_another=open_one,
                loop=asyncio.get_running_loop(),
                clock=clock,
            )
            service.inference.start()
            service.gallery_worker.start()
            service.search.start()
            try:
                await service.cameras.start()
                yield service
            finally:
                await service._close()

    def _people_changed(self, threshold: float) -> None:
        self.matching.threshold = threshold
        self.inference.gallery_changed(threshold)
        self.journal.reconcile()

    async def reconfigure(self, config: Config) -> None:
        """Apply the cameras of an edited configuration; see `Cameras.reconfigure`.

        Everything else is applied at the next start.
        """
        await self.cameras.reconfigure(config.cameras or (DEMO_CAMERA,))
        if config.model_copy(update={"cameras": ()}) != self._config.model_copy(
            update={"cameras": ()}
        ):
            logger.warning(
                "only the cameras of the configuration were applied: restart for the rest"
            )

    def waiting(self) -> dict[str, int]:
        """Return the number of waiting items of each queue."""
        return {
            "frames": self.inference.batcher.n_waiting,
            "calls": self.inference.n_jobs,
            "events": self.journal.n_waiting,
            "webhooks": sum(webhook.status().waiting for webhook in self.webhooks),
        }

    @property
    def is_recognizing(self) -> bool:
        """Whether the inference thread runs; false while it waits to be restarted."""
        return self.inference.is_alive

    def problems(self) -> list[str]:
        """Return the reasons why the service is degraded, one line each; empty if it is not."""
        lines = [
            f"camera {status.name} is {status.state}: {status.reason}"
            for status in self.cameras.statuses()
            if status.state in (CameraState.FAILING, CameraState.FROZEN)
        ]
        if not self.is_recognizing:
            lines.append("recognition is not running: see the log")
        if self.gallery_worker.trouble:
            lines.append(self.gallery_worker.trouble)
        if self.inference.failures:
            lines.append(f"recognition failed on {self.inference.failures} frames, see the log")
        if self.journal.trouble:
            waiting, lost = self.journal.n_waiting, self.journal.lost
            lines.append(f"{self.journal.trouble} ({waiting} events wait, {lost} are lost)")
        lines += self.supervisor.problems()
        for webhook in (each.status() for each in self.webhooks):
            if webhook.trouble:
                lines.append(
                    f"webhook {webhook.label} {webhook.trouble}: {webhook.waiting} events wait, "
                    f"{webhook.dead} were given up"
                )
        return lines

    def notices(self) -> list[str]:
        """Return notices that are not problems, one line each."""
        return [*self.event_log.notices(), *self.search.notices()]

    async def _close(self) -> None:
        """Stop in the order of the data flow, within `STOP_TIMEOUT_S` plus time to write."""
        deadline = self._clock() + STOP_TIMEOUT_S
        self.cameras.stop()
        self.inference.stop()
        self.gallery_worker.stop()
        try:
            await asyncio.wait_for(self.peers.close_all(), STOP_TIMEOUT_S)
        except TimeoutError:
            logger.warning("some viewers were not disconnected in time")
        for camera in self.cameras:
            camera.video.hub.close()
        await asyncio.to_thread(self.inference.join, self._left_s(deadline))
        # The thread of a hanging camera ends with the process.
        await self.cameras.join(min(deadline, self._clock() + STOP_TIMEOUT_S / 2))
        await asyncio.to_thread(self.gallery_worker.join, self._left_s(deadline))
        await asyncio.to_thread(self.journal.close)
        for webhook in self.webhooks:
            webhook.stop()
        deadline = self._clock() + self._left_s(deadline)
        for webhook in self.webhooks:
            await asyncio.to_thread(webhook.join, max(0.0, deadline - self._clock()))
        self.photo_worker.close()
        self.search.close()

    def _left_s(self, deadline: float) -> float:
        """Return the seconds until `deadline`, at least enough for a thread that is ending."""
        return max(deadline - self._clock(), STOP_TIMEOUT_S / 4)


def _shared(config: Config) -> dict[str, dict[str, Any]]:
    """Return the settings for commands that run beside the service, valid in any directory."""
    tables = config.model_dump(
        mode="json",
        include={"recognizer", "gallery", "events"},
        exclude={"gallery": {"directory"}},
        exclude_unset=True,
    )
    model = tables.get("recognizer", {}).get("model", "")
    if os.sep in model or Path(model).is_file():
        tables["recognizer"]["model"] = str(Path(model).absolute())
    return tables


def _open_webhooks(config: Config, supervisor: Supervisor) -> list[Webhook]:
    """Open the webhooks with their pending events; the event log must be open."""
    keys = hook_keys([each.url for each in config.webhooks])
    directory = config.gallery_directory
    forget_others(directory, keys)  # all of them if none is configured any more
    webhooks = []
    for number, (each, key) in enumerate(zip(config.webhooks, keys, strict=True), 1):
        outbox = Outbox(directory, key)
        webhooks.append(
            Webhook(each, number=number, outbox=outbox, supervisor=supervisor, wall_clock=time.time)
        )
    return webhooks
