"""A Ray cluster, as far as a fleet needs it: join or start it, place runners, hear of them."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import msgspec
import ray
from ray.exceptions import RayError

from robosac.errors import ConfigError
from robosac.exit_codes import EXIT_INCOMPLETE, EXIT_USER
from robosac.fleet.placed_runner import Outcome, PlacedRunner
from robosac.lifeline import tell
from robosac.wire.address import PORT_MAX, Address, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from robosac.cli.runner_config import RunnerConfig

LOCAL = "local"
"""Address of a cluster of this machine that lives as long as the connection."""
CPUS = 0.25
"""What a runner takes of a node in Ray's books: it mostly waits for its learner."""
_RESTARTS = 100
_JOIN_S = 15.0
_PROBE_S = 5.0
_ROOM_S = 3.0
_STORE_BYTES = 80 * 2**20
_ASK_AGAIN_S = 1.0
_SILENCE_S = 5.0


class Whereabouts(msgspec.Struct, frozen=True, kw_only=True):
    """Where a runner is, said by whoever keeps it there."""

    node: str
    """Address of the machine."""
    arrival: str
    """Another one each time Ray has placed the runner."""
    troubles: list[str]
    """What has happened to its process there."""


class RunnerActor(PlacedRunner):
    """What Ray places: a runner that can say where it is."""

    def __init__(self, name: str, folder: str, arguments: list[str]) -> None:
        """Arrive on a node."""
        super().__init__(name, folder, arguments)
        self._arrival = uuid.uuid4().hex

    def whereabouts(self) -> Whereabouts:
        """Say where the runner is and how it is."""
        return Whereabouts(
            node=ray.util.get_node_ip_address(),
            arrival=self._arrival,
            troubles=list(self.troubles),
        )


class Placement:
    """A runner in the hands of Ray, which starts it again elsewhere when its node dies."""

    def __init__(self, config: RunnerConfig) -> None:
        """Hand it over; it is started as soon as a node has room."""
        self.name = config.name
        self.open_ended = config.steps is None
        """Whether it goes on until the learner has enough."""
        self.restarts = 0
        """How often the runner was started again, by Ray or on its node."""
        placed: Any = ray.remote(
            num_cpus=CPUS,
            max_restarts=_RESTARTS,
            max_task_retries=_RESTARTS,
            max_concurrency=3,
            scheduling_strategy="SPREAD",
        )(RunnerActor)
        self._actor = placed.remote(config.name, config.folder, config.arguments())
        self.end = self._actor.run.remote()
        """Ray's promise of the outcome."""
        self._known: Whereabouts | None = None
        self._told_silence = False
        self._answer: Any = None
        self._asked_at = 0.0
        self._ask()

    def outcome(self) -> Outcome:
        """Return how a runner has ended that has ended."""
        try:
            outcome: Outcome = ray.get(self.end)
        except RayError as error:
            reason = str(error).strip().splitlines()[-1]
            return Outcome(
                message=f"Ray cannot run {self.name} ({reason}); expected robosac[sim,fleet] of "
                "the same version on every node; see processes.log, then go on with --resume",
                code=EXIT_INCOMPLETE,
            )
        return outcome

    @property
    def silent_s(self) -> float:
        """For how long whoever keeps the runner has owed an answer, s."""
        return 0.0 if self._answer is None else time.monotonic() - self._asked_at

    def news(self) -> Iterator[str]:
        """Yield what a user should know, once; call it often."""
        if self._answer is None:
            if time.monotonic() - self._asked_at > _ASK_AGAIN_S:
                self._ask()
        elif ray.wait([self._answer], timeout=0)[0]:
            found, self._answer = self._answer, None
            with contextlib.suppress(RayError):  # the outcome will say it
                yield from self._take(ray.get(found))
        elif self.silent_s > _SILENCE_S and not self._told_silence:
            self._told_silence = True
            where = "has no place yet" if self._known is None else "is not heard of any more"
            yield f"{where}; Ray starts it as soon as it knows a node for it"

    def stop(self) -> None:
        """Ask the runner to stop; may be called any number of times."""
        self._actor.stop.remote()

    def kill(self) -> None:
        """Give the runner up."""
        ray.kill(self._actor)

    def _ask(self) -> None:
        self._answer = self._actor.whereabouts.remote()
        self._asked_at = time.monotonic()

    def _take(self, found: Whereabouts) -> Iterator[str]:
        """Compare with what was known."""
        known, self._known = self._known, found
        self._told_silence = False
        seen = 0
        if known is not None and known.arrival == found.arrival:
            seen = len(known.troubles)
        elif known is not None:
            self.restarts += 1
            yield f"is started by Ray again, at {found.node}; it was at {known.node}"
        self.restarts += len(found.troubles) - seen
        yield from found.troubles[seen:]


class Cluster:
    """A connection to Ray."""

    def __init__(self, address: str, *, runners: int) -> None:
        """Start a cluster that has room for this many runners, or join one and see that it has.

        Raises ConfigError.
        """
        self._folder: str | None = None
        terminate = signal.getsignal(signal.SIGTERM)
        try:
            if address == LOCAL:
                self._start(runners)
            else:
                self._join(address)
            signal.signal(signal.SIGTERM, terminate)  # Ray has put its own in its place
            _check_room(address, runners)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return the cluster."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave it."""
        self.close()

    def close(self) -> None:
        """Leave the cluster, and end it when it was started here; may be called again."""
        ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def reachable(self, endpoint: str) -> str:
        """Return the endpoint under which every node finds the learner; raises ConfigError."""
        own = ray.util.get_node_ip_address()
        nodes = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        return reachable(endpoint, own=own, others=nodes - {own})

    def place(self, runner: RunnerConfig) -> Placement:
        """Hand a runner to Ray."""
        return Placement(runner)

    def ended(self, going: Sequence[Placement], *, timeout_s: float) -> list[Placement]:
        """Wait until at least one of several has ended; returns those that have, or none."""
        ends = {placement.end: placement for placement in going}
        ray.wait(list(ends), timeout=timeout_s)
        ready, _ = ray.wait(list(ends), num_returns=len(ends), timeout=0)
        return [ends[end] for end in ready]

    def _start(self, runners: int) -> None:
        """Start Ray on this machine; nobody else can use it, and it leaves nothing behind."""
        self._folder = tempfile.mkdtemp(prefix="robosac-ray-")
        try:
            ray.init(
                address=LOCAL,
                num_cpus=math.ceil(runners * CPUS),
                object_store_memory=_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=self._folder,
            )
        except (OSError, RuntimeError, ValueError, RayError) as error:
            raise ConfigError(
                f"Ray does not start here ({_first_line(error)}); expected room for it in "
                f"{tempfile.gettempdir()} and in memory; try without --fleet"
            ) from error

    def _join(self, address: str) -> None:
        """Join a cluster that is running."""
        if address != "auto":
            _probe(address)
        wrong = (
            f"Ray at {address} does not let this machine in; expected a cluster that it belongs "
            "to: run `ray start --address HOST:PORT` here first, with the same versions of Ray and "
            "Python and the cluster's token"
        )
        try:
            with _limited(wrong):
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError, RayError) as error:
            raise ConfigError(f"{wrong} ({_first_line(error)})") from error


def reachable(endpoint: str, *, own: str, others: set[str]) -> str:
    """Return the endpoint of a learner as other machines must call it; raises ConfigError.

    `own` is the address under which they know this machine.
    """
    parts = urlsplit(endpoint)
    address = Address(parts.hostname or "", parts.port or 0)
    if address.is_any_host:
        return Address(own, address.port).endpoint
    if others and _is_this_machine_only(address):
        raise ConfigError(
            f"the learner listens on {address}, for this machine only; the cluster has nodes at "
            f"{', '.join(sorted(others))}; let it listen for them: --bind 0.0.0.0:5555 --keys DIR"
        )
    return endpoint


def _is_this_machine_only(address: Address) -> bool:
    try:
        return is_loopback(address)
    except ValueError:
        return address.host == "localhost"


def _probe(address: str) -> None:
    """See that somebody answers: Ray itself would try for a minute, and then end the process."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or int(port) > PORT_MAX:
        raise ConfigError(f"--fleet is {address}; expected local, auto, or HOST:PORT of Ray")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PROBE_S).close()
    except OSError as error:
        raise ConfigError(
            f"nobody answers at {address} ({_first_line(error)}); expected the head of a Ray "
            "cluster; start one there with `ray start --head`, or use --fleet local"
        ) from None


@contextlib.contextmanager
def _limited(message: str) -> Iterator[None]:
    """End the process with this message when Ray takes too long: it cannot be interrupted."""

    def give_up() -> None:
        tell(event="error", message=message, code=EXIT_USER)
        os._exit(EXIT_USER)

    timer = threading.Timer(_JOIN_S, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _check_room(address: str, runners: int) -> None:
    """Refuse more runners than have room, now rather than never; raises ConfigError."""
    deadline = time.monotonic() + _ROOM_S  # a node that has just started is not in the books yet
    while (free := ray.available_resources().get("CPU", 0.0)) < runners * CPUS:
        if time.monotonic() > deadline:
            raise ConfigError(
                f"{runners} runners need {runners * CPUS:g} CPUs; the Ray cluster at {address} has "
                f"{free:g} of {ray.cluster_resources().get('CPU', 0.0):g} free; add nodes, or "
                f"start at most {int(free / CPUS)} with --runners"
            )
        time.sleep(0.1)


def _first_line(error: Exception) -> str:
    """Beginning of what a library says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
