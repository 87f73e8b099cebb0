"""The actors of Ray: one coordinator, and one keeper of the service for each machine."""

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gallery import Access, GalleryError, GalleryFormatError, Place
from gallery.facts import Facts
from gallery.opening import open_store
from gallery.shards import divide
from gallery.templates import Share
from stream.cluster.coordinator import CoordinatorThread
from stream.cluster.keeper import Keeper, Kept
from stream.cluster.shard import Shard
from stream.config import DATABASE_VARIABLE, configuration_file, load_config
from stream.errors import ClusterError, StreamError
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

NAMESPACE = "facewire"
COORDINATOR = "coordinator"
KEEPER = "keeper-"
"""How the name of a keeper begins; the id of its machine in Ray follows."""

SHARD = "shard-"
"""How the name of a shard begins; its number, from 0, and the number of shards follow."""

SITE = "site:"
"""How a custom resource of Ray begins that says where a machine is."""

MACHINES_S = 2.0
"""Seconds between two looks for machines without a keeper."""

SHARD_SILENT_S = 20.0
"""Seconds without an answer after which a shard's process is killed, and so started again: it is
frozen."""

ANSWER_S = 20.0
"""How long an actor's answer is waited for, seconds."""

FOREVER = {"lifetime": "detached", "namespace": NAMESPACE, "max_restarts": -1}


@dataclass(frozen=True, slots=True)
class Options:
    """How services are started.

    Attributes:
        arguments: of `facewire serve`.
        cpus, gpus: of Ray's resources that each service takes, less where a machine has less.
        shards: among how many processes the people are divided; 0 for none, and each service
            holds all people.
    """

    arguments: tuple[str, ...]
    cpus: float
    gpus: float
    shards: int = 0


class KeeperActor:
    """Keeps the service of its machine; see `Keeper`."""

    def __init__(self, arguments: Sequence[str], site: str) -> None:
        logging.basicConfig(level=logging.INFO)
        self._keeper: Keeper | None = None
        self._trouble = ""
        try:
            self._keeper = Keeper(arguments, site)
        except StreamError as error:  # an actor that fails at once is restarted without a pause
            self._trouble = str(error)
            logger.error("%s", error)
        else:
            self._keeper.start()

    def status(self) -> Kept:
        """Return what is known of the service."""
        if self._keeper is None:
            return Kept("", 0, "", 0, self._trouble)
        return self._keeper.status()

    def stop(self) -> None:
        """Stop the service, and keep it no longer."""
        if self._keeper is not None:
            self._keeper.stop()


class ShardActor:
    """Holds a share of the people; see `Shard`.

    Args:
        number: of the share, from 0.
        of: how many there are.
        place: of the gallery; None for that of the machine's configuration.
    """

    def __init__(self, number: int, of: int, place: Place | None = None) -> None:
        logging.basicConfig(level=logging.INFO)
        self._shard: Shard | None = None
        self._trouble = ""
        try:
            library: Any = ray.util
            host = str(library.get_node_ip_address())
            self._shard = Shard(_address() if place is None else place, Share(number, of), host)
        except (StreamError, OSError) as error:  # see `KeeperActor`
            self._trouble = str(error)
            logger.error("%s", error)
        else:
            self._shard.start()

    def trouble(self) -> str:
        """Return why it does not answer searches, one line; empty if it does."""
        return self._trouble if self._shard is None else self._shard.trouble

    def pid(self) -> int:
        """Return the process id."""
        return os.getpid()


class CoordinatorActor:
    """Gives each machine of Ray a keeper, each wanted camera a machine, and people their shards."""

    def __init__(self, options: Options) -> None:
        logging.basicConfig(level=logging.INFO)
        self._options = options
        self._trouble = ""
        self._coordinator: CoordinatorThread | None = None
        try:
            self._coordinator = CoordinatorThread(_address(), socket.gethostname())
        except StreamError as error:  # an actor that fails at once is restarted without a pause
            self._trouble = f"no camera is placed: {error}"
            logger.error("%s", self._trouble)
        else:
            self._coordinator.start()
        self._is_divided = False
        self._asked: dict[str, tuple[Any, float]] = {}
        self._stopping = threading.Event()
        self._thread = Supervisor(clock=time.monotonic).thread("keepers", self._keep)
        self._thread.start()

    def troubles(self) -> list[str]:
        """Return why cameras cannot be placed, or services do not run, one line each."""
        placing = "" if self._coordinator is None else self._coordinator.trouble
        keeping = self._thread.status().trouble
        lines = [self._trouble, placing, keeping, *(each.trouble for each in self.machines())]
        lines += [f"{name}: {trouble}" for name, trouble in _shard_troubles().items()]
        return [line for line in lines if line]

    def keeps_all(self) -> bool:
        """Return whether each machine of Ray has a keeper that answers."""
        machines: Any = ray.nodes
        return len(self.machines()) >= sum(bool(each["Alive"]) for each in machines())

    def options(self) -> Options:
        """Return how services are started."""
        return self._options

    def pid(self) -> int:
        """Return the process id."""
        return os.getpid()

    def machines(self) -> list[Kept]:
        """Return the services of all machines that answer."""
        asked = [each.status.remote() for each in _keepers()]
        found = []
        for each in _answered(asked):
            try:
                found.append(ray.get(each))
            except RayError as error:
                logger.warning("a keeper does not answer: %s", type(error).__name__)
        return found

    def stop(self) -> None:
        """Place nothing more, and stop all services and shards."""
        self._stopping.set()
        self._thread.stop()
        self._thread.join(ANSWER_S)
        keepers = _keepers()
        asked = [each.stop.remote() for each in keepers]
        _answered(asked)
        for each in keepers:
            ray.kill(each, no_restart=True)
        for name in _named(SHARD):
            _kill(name)
        try:
            _divide(0)
        except (StreamError, GalleryError) as error:
            logger.warning("the people are still noted as divided: %s", error)
        if self._coordinator is not None:
            self._coordinator.stop(ANSWER_S)

    def _keep(self) -> None:
        while not self._stopping.wait(MACHINES_S):
            try:
                if self._divided():
                    self._keep_all()
            except RayError as error:
                logger.warning("Ray does not answer: %s", type(error).__name__)

    def _divided(self) -> bool:
        """Note among how many shards people are divided; return whether services may start."""
        if not self._is_divided:
            try:
                _divide(self._options.shards)
            except (StreamError, GalleryError) as error:
                logger.warning("the division of the people cannot be noted: %s", error)
            else:
                self._is_divided = True
        return self._is_divided or not self._options.shards

    def _keep_all(self) -> None:
        """Start the keepers of machines that have none."""
        machines: Any = ray.nodes
        alive = {each["NodeID"]: each["Resources"] for each in machines() if each["Alive"]}
        named = {name.removeprefix(KEEPER) for name in _named(KEEPER)}
        for node, resources in alive.items():
            if node not in named:
                _start_keeper(node, resources, self._options)
        for node in named - alive.keys():  # Ray waits for a machine that does not come back
            _kill(f"{KEEPER}{node}")
        self._keep_shards()

    def _keep_shards(self) -> None:
        """Start the shards that are missing; end those that are frozen, or of another division."""
        n = self._options.shards
        wanted = {shard_name(number, n): number for number in range(n)}
        named = set(_named(SHARD))
        for name in named - wanted.keys():
            _kill(name)
        for name in wanted.keys() - named:
            start_shard(wanted[name], n)
            logger.info("%s is started", name)
        now = time.monotonic()
        for name in wanted.keys() & named:
            asked, since = self._asked.get(name, (None, now))
            if asked is None or ray.wait([asked], timeout=0)[0]:
                try:
                    handle = ray.get_actor(name, namespace=NAMESPACE)
                except ValueError:  # it ended at this moment
                    continue
                self._asked[name] = handle.pid.remote(), now
            elif now - since > SHARD_SILENT_S:
                logger.warning("%s has not answered for %.0f s: it is killed", name, now - since)
                del self._asked[name]
                ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=False)


def shard_name(number: int, of: int) -> str:
    """Return the name of a shard's actor."""
    return f"{SHARD}{number}-of-{of}"


def start_shard(number: int, of: int, place: Place | None = None) -> ActorHandle[Any]:
    """Return a shard, started if there is none, on any machine; see `ShardActor`."""
    kind: Any = ray.remote(ShardActor)
    handle: ActorHandle[Any] = kind.options(
        name=shard_name(number, of),
        get_if_exists=True,
        num_cpus=0,
        scheduling_strategy="SPREAD",
        max_concurrency=4,
        **FOREVER,
    ).remote(number, of, place)
    return handle


def start_coordinator(options: Options) -> ActorHandle[Any]:
    """Return the coordinator, started if there is none."""
    kind: Any = ray.remote(CoordinatorActor)
    handle: ActorHandle[Any] = kind.options(
        name=COORDINATOR, get_if_exists=True, num_cpus=0, max_concurrency=4, **FOREVER
    ).remote(options)
    return handle


def find_coordinator() -> ActorHandle[Any] | None:
    """Return the coordinator; None if there is none."""
    try:
        return ray.get_actor(COORDINATOR, namespace=NAMESPACE)
    except ValueError:
        return None


def _start_keeper(node: str, resources: dict[str, float], options: Options) -> None:
    site = next((each.removeprefix(SITE) for each in resources if each.startswith(SITE)), "")
    ray.remote(KeeperActor).options(
        name=f"{KEEPER}{node}",
        get_if_exists=True,
        num_cpus=min(options.cpus, resources.get("CPU", 0.0)),
        num_gpus=min(options.gpus, resources.get("GPU", 0.0)),
        resources={f"{SITE}{site}": 0.001} if site else {},
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        max_concurrency=4,
        **FOREVER,
    ).remote(options.arguments, site)
    logger.info("machine %s gets a keeper", node)


def _keepers() -> list[ActorHandle[Any]]:
    return list(_handles(KEEPER).values())


def _handles(prefix: str) -> dict[str, ActorHandle[Any]]:
    """Return the actors whose names begin so, by name."""
    found = {}
    for name in _named(prefix):
        with suppress(ValueError):  # it ended at this moment
            found[name] = ray.get_actor(name, namespace=NAMESPACE)
    return found


def _named(prefix: str) -> list[str]:
    return [
        str(each["name"])
        for each in ray.util.list_named_actors(all_namespaces=True)
        if each["namespace"] == NAMESPACE and str(each["name"]).startswith(prefix)
    ]


def _shard_troubles() -> dict[str, str]:
    """Return why shards do not answer searches, by name."""
    asked = {handle.trouble.remote(): name for name, handle in _handles(SHARD).items()}
    done, lines = _answered(list(asked)), {}
    for each in done:
        try:
            lines[asked[each]] = str(ray.get(each))
        except RayError as error:
            lines[asked[each]] = type(error).__name__
    return {name: line for name, line in lines.items() if line}


def _divide(n: int) -> None:
    """Note in the database among how many shards its people are divided."""
    access = Access.CREATE if n else Access.WRITE
    try:
        store = open_store(_address(), access=access)
    except GalleryFormatError:
        if n:
            raise
        return  # there are no people
    try:
        divide(Facts(store), n)
    finally:
        store.close()


def _answered(asked: list[Any]) -> list[Any]:
    """Return the references of actors that answered in time."""
    if not asked:
        return []
    done, _ = ray.wait(asked, num_returns=len(asked), timeout=ANSWER_S)
    return done


def _kill(name: str) -> None:
    try:
        ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=True)
    except (ValueError, RayActorError):
        return


def _address() -> str:
    """Return the address of the database of this machine's configuration."""
    address = load_config(configuration_file(None), is_served=False).gallery.database
    if not address:
        raise ClusterError(
            f"machine {socket.gethostname()} has no database: set {DATABASE_VARIABLE} there before "
            "Ray is started"
        )
    return address
