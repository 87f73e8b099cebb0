"""The actors of Ray: one coordinator, and one keeper of the service for each machine."""

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from stream.cluster.coordinator import CoordinatorThread
from stream.cluster.keeper import Keeper, Kept
from stream.config import DATABASE_VARIABLE, configuration_file, load_config
from stream.errors import ClusterError, StreamError
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

NAMESPACE = "facewire"
COORDINATOR = "coordinator"
KEEPER = "keeper-"
"""How the name of a keeper begins; the id of its machine in Ray follows."""

SITE = "site:"
"""How a custom resource of Ray begins that says where a machine is."""

MACHINES_S = 2.0
"""Seconds between two looks for machines without a keeper."""

ANSWER_S = 20.0
"""How long an actor's answer is waited for, seconds."""

FOREVER = {"lifetime": "detached", "namespace": NAMESPACE, "max_restarts": -1}


@dataclass(frozen=True, slots=True)
class Options:
    """How services are started.

    Attributes:
        arguments: of `facewire serve`.
        cpus, gpus: of Ray's resources that each service takes, less where a machine has less.
    """

    arguments: tuple[str, ...]
    cpus: float
    gpus: float


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


class CoordinatorActor:
    """Gives each machine of Ray a keeper, and each wanted camera a machine."""

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
        self._stopping = threading.Event()
        self._thread = Supervisor(clock=time.monotonic).thread("keepers", self._keep)
        self._thread.start()

    def troubles(self) -> list[str]:
        """Return why cameras cannot be placed, or services do not run, one line each."""
        placing = "" if self._coordinator is None else self._coordinator.trouble
        keeping = self._thread.status().trouble
        lines = [self._trouble, placing, keeping, *(each.trouble for each in self.machines())]
        return [line for line in lines if line]

    def keeps_all(self) -> bool:
        """Return whether each machine of Ray has a keeper that answers."""
        machines: Any = ray.nodes
        return len(self.machines()) >= sum(bool(each["Alive"]) for each in machines())

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
        """Place nothing more, and stop all services."""
        self._stopping.set()
        self._thread.stop()
        self._thread.join(ANSWER_S)
        keepers = _keepers()
        asked = [each.stop.remote() for each in keepers]
        _answered(asked)
        for each in keepers:
            ray.kill(each, no_restart=True)
        if self._coordinator is not None:
            self._coordinator.stop(ANSWER_S)

    def _keep(self) -> None:
        while not self._stopping.wait(MACHINES_S):
            try:
                self._keep_all()
            except RayError as error:
                logger.warning("Ray does not answer: %s", type(error).__name__)

    def _keep_all(self) -> None:
        """Start the keepers of machines that have none."""
        machines: Any = ray.nodes
        alive = {each["NodeID"]: each["Resources"] for each in machines() if each["Alive"]}
        named = {
            str(each["name"]).removeprefix(KEEPER)
            for each in ray.util.list_named_actors(all_namespaces=True)
            if each["namespace"] == NAMESPACE and str(each["name"]).startswith(KEEPER)
        }
        for node, resources in alive.items():
            if node not in named:
                _start_keeper(node, resources, self._options)
        for node in named - alive.keys():  # Ray waits for a machine that does not come back
            _kill(f"{KEEPER}{node}")


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
    found = []
    for each in ray.util.list_named_actors(all_namespaces=True):
        if each["namespace"] == NAMESPACE and str(each["name"]).startswith(KEEPER):
            try:
                found.append(ray.get_actor(each["name"], namespace=NAMESPACE))
            except ValueError:  # it ended at this moment
                continue
    return found


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
