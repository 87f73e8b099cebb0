"""The running service: cameras, recognition, events and viewers combined."""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version
from socket import gethostname
from typing import TYPE_CHECKING, Any, Self

import cv2

from gallery import Gallery, replacing
from gallery.people_copy import PeopleCopy
from gallery.private_files import make_private_directory
from recognizer import (
    Progress,
    Recognizer,
    default_cache,
    fetch_photos,
    open_recognizer,
)
from stream.cameras.camera import CameraState
from stream.cameras.host import Host, LocalHost
from stream.cameras.registry import Cameras
from stream.cameras.store import CameraStore
from stream.config import CameraConfig, Config, data_dir
from stream.demo.scene import enrol_demo
from stream.enrollment.doubts import Doubts
from stream.enrollment.gallery_worker import WAIT_S, GalleryWorker
from stream.enrollment.naming import Matching
from stream.errors import StreamError
from stream.events.log import EventLog
from stream.events.recorder import Journal
from stream.events.replica import leave
from stream.events.search_worker import SearchWorker
from stream.events.visits import VisitRules
from stream.front.front import Front
from stream.front.machines import Machines
from stream.ice import IceServers
from stream.integrations.compreface.similarity import similarity_of
from stream.integrations.frigate.companion import FrigateCompanion
from stream.integrations.mqtt.client import MqttClient
from stream.integrations.mqtt.link import MqttLink
from stream.integrations.status import IntegrationStatus, of_frigate, of_webhook
from stream.metrics.figures import Figures
from stream.naming import FaceNaming
from stream.opening import (
    DEMO_CAMERA,
    open_cameras,
    open_replicator,
    open_rules,
    open_webhooks,
    settings_of_commands,
)
from stream.recognition.photo_worker import PhotoWorker
from stream.recognition.pipeline import Pipeline
from stream.recognition.worker import Inference
from stream.schemas.cameras import camera_json
from stream.service_lock import announced, only_service
from stream.sfu.janus import JanusSfu
from stream.sfu.viewing import Sfu, Viewing
from stream.sfu.whip import WhipSfu
from stream.supervisor import Supervisor
from stream.visitors.assignment import JoinLimits
from stream.visitors.book import VisitorBook
from stream.visitors.changes import VisitorChanges, carry_out
from stream.webrtc.peers import Peers
from stream.workers.balance import Rebalancer
from stream.workers.growth import Growth, n_workers
from stream.workers.host import WorkerHost
from stream.workers.process import Setup

if TYPE_CHECKING:
    from stream.cluster.follower import Follower
    from stream.replication.replicator import Replicator
    from stream.replication.worker import ReplicationWorker

logger = logging.getLogger(__name__)

STOP_TIMEOUT_S = 1.0
"""How long a stop waits for the inference thread, the peers and a camera, each."""

TRACKS_OF_ONE = 1 << 32
"""Numbers of tracks that one process may use; they must be unique in a run of the service."""


class Service:
    """Cameras in, packets and events out. `Service.open` creates, starts and stops it.

    Its parts do the work; the service itself reports its health.

    Attributes:
        visit_rules: how events become visits.
        recognizer: finds and embeds the faces of live frames, in the inference thread.
        cameras: every camera by name.
        local: runs the cameras of this process.
        workers: run the others, each in a process of its own.
        rebalancer: moves cameras from a worker that falls behind to another.
        growth: starts workers as cameras are added.
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
        visitor_changes: what people change of them.
        journal: writes past events and publishes new ones.
        search: finds faces among past sightings.
        replication: shares events with other machines; None without a database.
        follower: follows which cameras the cluster places on this machine; None without one.
        webhooks: one for each receiver of events.
        mqtt_link: publishes at an MQTT broker; None where none is configured.
        rules: notify people of events.
        frigate: names events of Frigate; None where none is configured.
        peers: WebRTC connections.
        viewing: serves viewers by the SFU, or else by `peers`.
        leaving: the tasks of cameras whose sender has left.
        figures: the histograms of /metrics.
        supervisor: restarts threads and tasks that fail.
        front: calls the machines that run other cameras of the database; None without [cluster].
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
        opened_with: dict[str, Any],
        copy: PeopleCopy | None,
        replicator: "Replicator | None",
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._opened_with = opened_with
        self._copy = copy
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
            again_s=config.events.absence_s + config.events.cooldown_s,
        )
        event_log.keeper = self.visitors
        event_log.keeps_unknown = config.events.search_unknown
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
        self.webhooks = open_webhooks(config, self.supervisor)
        self.mqtt_link = MqttLink(config, supervisor=self.supervisor) if config.mqtt.is_on else None
        self.rules = open_rules(config, self.supervisor, self.mqtt)
        followers = (*self.webhooks, self.mqtt_link, self.rules)
        self.journal = Journal(
            event_log,
            listeners=[each.offer for each in followers if each is not None],
            figures=self.figures,
            supervisor=self.supervisor,
            loop=loop,
            clock=clock,
        )
        self.visitor_changes = VisitorChanges(self.visitors, self.journal)
        self.inference = Inference(
            self.pipeline,
            show=lambda result: self.local.show(result),
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
            applied=self._gallery_applied,
            supervisor=self.supervisor,
            clock=clock,
            copy=copy,
        )
        self.local = LocalHost(
            self.inference,
            self.pipeline,
            recognizer,
            bitrate_kbps=config.video.bitrate_kbps,
            figures=self.figures,
            supervisor=self.supervisor,
            clock=clock,
        )
        self._next_worker = itertools.count(1)
        self._clock = clock
        wanted = partial(n_workers, config.recognizer.workers, is_node=bool(config.cluster.node))
        self.workers: list[WorkerHost] = []
        for _ in range(wanted(len(camera_store.cameras()))):
            self._add_worker()
        self.cameras = Cameras(
            camera_store,
            self.local,
            self.workers,
            min_face_px=config.recognizer.min_face_px,
            log=self.journal.log,
            keep=self.journal.keep,
            renamed=self.journal.rename_camera,
            figures=self.figures,
            supervisor=self.supervisor,
            clock=clock,
        )
        self.rebalancer = Rebalancer(
            self.workers, self.cameras.move, supervisor=self.supervisor, clock=clock
        )
        self.growth = Growth(
            self.cameras,
            self.workers,
            wanted=wanted,
            add=lambda: self._add_worker().open(),
            supervisor=self.supervisor,
        )
        self.viewing = Viewing(
            self.peers, self._open_sfu(config), self.supervisor.watch("viewers of the SFU")
        )
        self.frigate = self._open_frigate(clock)
        self._counted = (0, 0)
        self.replication = None if replicator is None else self._share(replicator)
        self.front = None if replicator is None else self._open_front(replicator)
        self.follower = None if replicator is None else self._follow(replicator, loop)
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
            recognizer=recognizer,
            gallery=gallery,
            gallery_worker=self.gallery_worker,
            matching=self.matching,
            event_log=event_log,
            journal=self.journal,
            visitors=self.visitors,
            visitor_changes=self.visitor_changes,
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
        opened_with: dict[str, Any] = {
            "device": settings.device,
            "precision": settings.precision,
            "threads": settings.threads,
            "model": settings.model,
            "gender_age_model": settings.gender_age_model,
            "min_face_px": settings.photo_min_face_px,
        }
        open_one = partial(open_recognizer, **opened_with)
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
            stack.enter_context(
                announced(directory, data=data_dir(), settings=settings_of_commands(config))
            )
            recognizer = await asyncio.to_thread(open_one, progress=progress)
            copy = _people_copy(config)
            gallery = stack.enter_context(
                Gallery.open(
                    config.gallery_place,
                    model_id=recognizer.model_id,
                    embedding_size=recognizer.embedding_size,
                    wait_s=WAIT_S,
                    copy=copy,
                )
            )
            if gallery.shards() and copy is not None:  # their people are too many for each disk
                await asyncio.to_thread(_erase, copy)
                copy = None
            camera_store = open_cameras(config)
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
            replicator = None
            if config.gallery.database:
                replicator = await asyncio.to_thread(open_replicator, config)
            else:
                leave(event_log.connection)
            service = cls(
                config,
                recognizer,
                gallery,
                event_log,
                camera_store=camera_store,
                open_another=open_one,
                opened_with=opened_with,
                copy=copy,
                replicator=replicator,
                loop=asyncio.get_running_loop(),
                clock=clock,
            )
            service.inference.start()
            for worker in service.workers:
                worker.open()
            service.gallery_worker.start()
            service.search.start()
            if service.replication is not None:
                service.replication.start()
            try:
                await service.cameras.start()
                if service.follower is not None:
                    service.follower.start()
                service.rebalancer.start()
                service.growth.start()
                if service.frigate is not None:
                    service.frigate.start()
                if service.mqtt_link is not None:
                    service.mqtt_link.start(
                        cameras=service.cameras,
                        gallery=gallery,
                        has_visitors=lambda: service.visitors.is_enabled,
                        is_ignored=event_log.is_ignored,
                        loop=asyncio.get_running_loop(),
                        clock=clock,
                    )
                if service.viewing.sfu is not None:
                    service.viewing.sfu.start()
                if service.front is not None:
                    service.front.start(service.supervisor)
                yield service
            finally:
                await service._close()

    def _open_sfu(self, config: Config) -> Sfu | None:
        if config.sfu.kind == "janus":
            room = f"{config.sfu.room} {config.cluster.node}".rstrip()
            return JanusSfu(config.sfu, room=room, supervisor=self.supervisor)
        if config.sfu.kind == "whip":
            return WhipSfu(
                config.sfu,
                cameras=lambda: [
                    (each.name, each.video.hub) for each in self.cameras if each.config.enabled
                ],
                ice=self.peers.ice,
                supervisor=self.supervisor,
            )
        return None

    def _share(self, replicator: "Replicator") -> "ReplicationWorker":
        from stream.replication.worker import ReplicationWorker

        replicator.cameras = lambda: [each.name for each in self.cameras if each.config.enabled]
        visitors = replicator.visitors
        self.visitors.share(visitors.leads)
        self.visitor_changes.ask = visitors.ask
        visitors.assigns = lambda: self.visitors.is_enabled
        visitors.seen = self.journal.assign_received
        visitors.asked = partial(self._asked, visitors.answer)
        replicator.arrived = self.journal.show
        replicator.changed = self.journal.changed_elsewhere
        return ReplicationWorker(replicator, self.supervisor)

    def _asked(self, answer: Callable[[int, str], None], number: int, request: str) -> None:
        """Change visitors as a person asked on another machine."""
        self.journal.do(lambda: answer(number, carry_out(self.visitors, request)))

    def _open_front(self, replicator: "Replicator") -> Front | None:
        """Return what calls other machines, if [cluster] says how they reach this one."""
        settings = self._config.cluster
        if not settings.url:
            return None
        machines = Machines(
            settings.name or gethostname(),
            settings.url,
            version("facewire"),
            is_own=lambda name: any(each.name == name for each in self.cameras),
        )
        replicator.presence, replicator.met = machines.presence, machines.met
        machines.changed = replicator.hurry
        return Front(
            machines,
            cameras=lambda: [
                camera_json(status, is_admin=True, machine=machines.name)
                for status in self.cameras.statuses()
            ],
            problems=self.own_problems,
        )

    def _follow(
        self, replicator: "Replicator", loop: asyncio.AbstractEventLoop
    ) -> "Follower | None":
        """Return the follower of placements, if this machine is one of a cluster."""
        cluster = self._config.cluster
        if not cluster.node:
            return None
        from stream.cluster.follower import Follower

        def place(cameras: list[CameraConfig], generations: dict[str, int]) -> None:
            replicator.hold(generations)
            placing = asyncio.run_coroutine_threadsafe(self._place(cameras), loop)
            placing.add_done_callback(lambda done: _look_at(done, follower))

        follower = Follower(
            self._config.gallery.database,
            node=cluster.node,
            site=cluster.site or None,
            run=self.pipeline.run_id,
            number=lambda: replicator.node,
            place=place,
            close=self.journal.close_stays,
            cpu_s=lambda: time.process_time() + self.worker_cpu_s,
            frames=self._frames,
            supervisor=self.supervisor,
        )
        replicator.is_placed = follower.is_placed
        return follower

    def _frames(self) -> tuple[int, int]:
        """Return how many frames all cameras captured, and how many recognition lost."""
        with suppress(KeyError):  # a camera is removed at this moment
            statuses = self.cameras.statuses()
            self._counted = (
                sum(each.captured for each in statuses),
                sum(each.dropped for each in statuses),
            )
        return self._counted

    async def _place(self, cameras: list[CameraConfig]) -> None:
        names = ", ".join(camera.name for camera in cameras) or "no camera"
        logger.info("placed on this machine: %s", names)
        await self.cameras.place(cameras)

    def _open_frigate(self, clock: Callable[[], float]) -> FrigateCompanion | None:
        """Subscribe to Frigate's events, if one is configured."""
        if self.mqtt is None or not self._config.frigate.url:
            return None
        companion = FrigateCompanion(
            self._config.frigate,
            cameras=self.cameras,
            score=lambda similarity: similarity_of(similarity, self.matching.threshold),
            supervisor=self.supervisor,
            clock=clock,
        )
        self.mqtt.subscribe(companion.topic, companion.receive)
        return companion

    def _people_changed(self, threshold: float) -> None:
        self.matching.threshold = threshold
        self.inference.gallery_changed(threshold)
        for worker in self.workers:
            worker.gallery_changed(threshold)
        self.journal.reconcile()

    async def _gallery_applied(self) -> None:
        await asyncio.gather(
            self.inference.gallery_applied(), *(each.gallery_applied() for each in self.workers)
        )

    @property
    def _hosts(self) -> list[Host]:
        return [self.local, *self.workers]

    def _add_worker(self) -> WorkerHost:
        """Return another worker, which is not open yet."""
        worker = WorkerHost(
            len(self.workers) + 1,
            self._worker_setup,
            log=self.journal.log,
            keep=self.journal.keep,
            figures=self.figures,
            gathers=lambda: self.visitors.is_enabled,
            supervisor=self.supervisor,
            clock=self._clock,
        )
        self.workers.append(worker)
        return worker

    def _worker_setup(self) -> Setup:
        """Return what the next worker process needs, with numbers of tracks of its own."""
        settings, events = self._config.recognizer, self._config.events
        return Setup(
            gallery=self._config.gallery_place,
            copy=None if self._copy is None else self._config.gallery_directory,
            recognizer=self._opened_with,
            min_face_px=settings.min_face_px,
            pipeline={
                "threshold": self.matching.threshold,
                "margin": self.matching.margin,
                "limits": self.matching.limits,
                "confirm_s": events.confirm_s,
                "absence_s": events.absence_s,
                "camera_away_s": events.camera_away_s,
                "cooldown_s": events.cooldown_s,
                "still_scan_s": settings.still_scan_s,
                "run": self.pipeline.run_id,
                "first_track": next(self._next_worker) * TRACKS_OF_ONE,
            },
            bitrate_kbps=self._config.video.bitrate_kbps,
            level=logging.getLogger().level,
        )

    async def reconfigure(self, config: Config) -> bool:
        """Apply the cameras and rules of an edited configuration; see `Cameras.reconfigure`.

        Everything else is applied at the next start. Rules may need some of that, such as a new
        group: then they stay, and the cameras are applied all the same.

        Returns:
            Whether the rules were applied, too.
        """
        if self.follower is None:
            await self.cameras.reconfigure(config.cameras or (DEMO_CAMERA,))
        try:
            await asyncio.to_thread(self.rules.reconfigure, config.rules)
        except StreamError as error:
            logger.error("%s (the cameras are taken in, the rules stay as they are)", error)
            return False
        applied: dict[str, object] = {"cameras": (), "rules": ()}
        if config.model_copy(update=applied) != self._config.model_copy(update=applied):
            logger.warning(
                "only the cameras and rules of the configuration were applied: restart for the rest"
            )
        return True

    def waiting(self) -> dict[str, int]:
        """Return the number of waiting items of each queue."""
        return {
            "frames": sum(host.n_waiting for host in self._hosts),
            "calls": sum(host.n_jobs for host in self._hosts),
            "events": self.journal.n_waiting,
            "webhooks": sum(webhook.status().waiting for webhook in self.webhooks),
            "notifications": self.rules.waiting(),
            **({} if self.mqtt_link is None else {"mqtt": self.mqtt_link.waiting}),
            **({} if self.frigate is None else {"frigate": self.frigate.status().waiting}),
        }

    @property
    def mqtt(self) -> MqttClient | None:
        """The client of the MQTT broker; None where none is configured."""
        return None if self.mqtt_link is None else self.mqtt_link.client

    @property
    def is_recognizing(self) -> bool:
        """Whether the inference thread runs; false while it waits to be restarted."""
        return all(host.is_alive for host in self._hosts)

    @property
    def ticks(self) -> int:
        """Recognition ticks of all processes since the start."""
        return sum(host.ticks for host in self._hosts)

    @property
    def failures(self) -> int:
        """Recognition ticks that failed, likewise."""
        return sum(host.failures for host in self._hosts)

    @property
    def worker_cpu_s(self) -> float:
        """Processor time of all worker processes since the start, seconds."""
        return sum(worker.cpu_s for worker in self.workers)

    def problems(self, *, is_admin: bool = True) -> list[str]:
        """Return the reasons why the service is degraded, one line each; empty if it is not.

        Args:
            is_admin: whether they name the hosts and devices of integrations.
        """
        others = [] if self.front is None else self.front.machines.lines(is_admin=is_admin)
        return self.own_problems(is_admin=is_admin) + others

    def own_problems(self, *, is_admin: bool = True) -> list[str]:
        """Return those reasons that are not about other machines."""
        lines = [
            f"camera {status.name} is {status.state}: {status.reason}"
            for status in self.cameras.statuses()
            if status.state in (CameraState.FAILING, CameraState.FROZEN)
        ]
        if not self.is_recognizing:
            lines.append("recognition is not running: see the log")
        if self.gallery_worker.trouble:
            lines.append(self.gallery_worker.trouble)
        if self.gallery_worker.copy_trouble:
            lines.append(self.gallery_worker.copy_trouble)
        if unsearched := self.gallery.unsearched():
            lines.append(unsearched)
        if self.failures:
            lines.append(f"recognition failed on {self.failures} frames, see the log")
        if self.journal.trouble:
            waiting, lost = self.journal.n_waiting, self.journal.lost
            lines.append(f"{self.journal.trouble} ({waiting} events wait, {lost} are lost)")
        if self.replication is not None:
            lines += self.replication.problems()
        if self.follower is not None:
            lines += self.follower.problems()
        lines += self.supervisor.problems()
        if self.viewing.trouble:
            lines.append(self.viewing.trouble)
        if is_admin:
            lines += self._integration_problems()
        else:
            lines += [f"{each.name} fails" for each in self.integrations() if each.trouble]
        zones = {zone for camera in self.cameras for zone in camera.config.zones}
        return lines + self.rules.problems(zones=zones, is_admin=is_admin)

    def _integration_problems(self) -> list[str]:
        lines = []
        for webhook in (each.status() for each in self.webhooks):
            if webhook.trouble:
                lines.append(
                    f"webhook {webhook.label} {webhook.trouble}: {webhook.waiting} events wait, "
                    f"{webhook.dead} were given up"
                )
        if self.mqtt_link is not None and (problem := self.mqtt_link.problem()):
            lines.append(problem)
        if self.frigate is not None and (trouble := self.frigate.status().trouble):
            lines.append(f"frigate: {trouble}")
        return lines

    def integrations(self) -> list[IntegrationStatus]:
        """Return the state of every configured integration."""
        found = []
        if self.mqtt_link is not None:
            found.append(self.mqtt_link.status())
        if self.frigate is not None:
            found.append(of_frigate(self.frigate.status()))
        return [*found, *(of_webhook(each.status()) for each in self.webhooks)]

    def notices(self) -> list[str]:
        """Return notices that are not problems, one line each."""
        return [*self.event_log.notices(), *self.search.notices()]

    async def _close(self) -> None:
        """Stop in the order of the data flow, within `STOP_TIMEOUT_S` plus time to write."""
        deadline = self._clock() + STOP_TIMEOUT_S
        if self.front is not None:
            await self.front.stop()
        if self.follower is not None:
            self.follower.stop()
        self.rebalancer.stop()
        self.growth.stop()
        self.cameras.stop()
        self.inference.stop()
        for worker in self.workers:
            worker.close()
        self.gallery_worker.stop()
        ends = {"some viewers were not disconnected": asyncio.create_task(self.peers.close_all())}
        if self.viewing.sfu is not None:
            ends["the SFU did not answer"] = asyncio.create_task(self.viewing.sfu.stop())
        await asyncio.wait(ends.values(), timeout=STOP_TIMEOUT_S)
        for reason, end in ends.items():
            if end.cancel():
                logger.warning("%s in time", reason)
            elif (error := end.exception()) is not None:
                logger.error(reason, exc_info=error)
        for camera in self.cameras:
            camera.video.hub.close()
        await asyncio.to_thread(self.inference.join, self._left_s(deadline))
        for worker in self.workers:
            await asyncio.to_thread(worker.join, self._left_s(deadline) + STOP_TIMEOUT_S)
        # The thread of a hanging camera ends with the process.
        await self.cameras.join(min(deadline, self._clock() + STOP_TIMEOUT_S / 2))
        await asyncio.to_thread(self.gallery_worker.join, self._left_s(deadline))
        if self.replication is not None:  # before the journal, which takes what it receives
            await asyncio.to_thread(self.replication.receive_no_more)
        await asyncio.to_thread(self.journal.close)
        if self.replication is not None:
            self.replication.stop()
            await asyncio.to_thread(self.replication.join, self._left_s(deadline) + STOP_TIMEOUT_S)
        if self.follower is not None:  # last, so that exits are written before the next owner's
            await asyncio.to_thread(self.follower.leave, STOP_TIMEOUT_S)
        for webhook in self.webhooks:
            webhook.stop()
        self.rules.stop()
        if self.frigate is not None:
            self.frigate.stop()
        if self.mqtt_link is not None:
            await asyncio.to_thread(self.mqtt_link.stop)
        deadline = self._clock() + self._left_s(deadline)
        for webhook in self.webhooks:
            await asyncio.to_thread(webhook.join, max(0.0, deadline - self._clock()))
        await asyncio.to_thread(self.rules.join, lambda: deadline - self._clock())
        if self.frigate is not None:
            await asyncio.to_thread(self.frigate.join, max(0.0, deadline - self._clock()))
        if self.mqtt_link is not None:
            await asyncio.to_thread(self.mqtt_link.join, self._left_s(deadline))
        self.photo_worker.close()
        self.search.close()

    def _left_s(self, deadline: float) -> float:
        """Return the seconds until `deadline`, at least enough for a thread that is ending."""
        return max(deadline - self._clock(), STOP_TIMEOUT_S / 4)


def _people_copy(config: Config) -> PeopleCopy | None:
    """Return the copy of a database's people; erase it where they are in a directory."""
    copy = PeopleCopy(config.gallery_directory)
    if config.gallery.database:
        return copy
    _erase(copy)
    return None


def _erase(copy: PeopleCopy) -> None:
    try:
        copy.erase()
    except OSError as error:
        logger.warning("cannot erase the copy of a database's people: %s", error)


def _look_at(placing: Future[None], follower: "Follower") -> None:
    """Log why cameras could not be placed on this machine; they are placed again."""
    if not placing.cancelled() and (error := placing.exception()) is not None:
        logger.error("cameras could not be placed on this machine: %s", error)
        follower.place_again()
