"""The learner process: `python -m robosac.learner JSON`, see options.py.

Three threads: the service takes experience in, the update loop learns, the publisher writes
policies and checkpoints.  The parent reads one JSON object a line from standard output.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from robosac.errors import CheckpointError, RankLostError, RobosacError, StorageError
from robosac.exit_codes import EXIT_DONE, EXIT_INCOMPLETE, EXIT_USER
from robosac.learner import checkpoint, device, priors
from robosac.learner.door import Door
from robosac.learner.figures import figures_of
from robosac.learner.inbox import Inbox
from robosac.learner.learner import Learner, Snapshot
from robosac.learner.metrics import MetricsWriter, plain
from robosac.learner.ranks import Leader, leading
from robosac.learner.rehearsal import rehearse
from robosac.learner.replayed import CudaGraphs
from robosac.learner.service import SILENCE_S, PublishedPolicy, Service
from robosac.learner.threads import most_threads, take_fastest
from robosac.learner.trial import let_replay
from robosac.lifeline import Lifeline, tell
from robosac.policy import contract as contracts
from robosac.run_folder import RunFolder, write_atomically

if TYPE_CHECKING:
    from robosac.learner.checkpoint import Frozen, Resumed
    from robosac.learner.options import LearnerOptions
    from robosac.policy import Contract
    from robosac.run_folder import RunConfig

_STATUS_S = 0.5
_IDLE_S = 0.2


class Publisher:
    """Writes policies and checkpoints on a thread of its own; only the newest policy waits."""

    def __init__(self, learner: Learner, service: Service, folder: RunFolder) -> None:
        """Publish for one learner."""
        self._learner, self._service, self._folder = learner, service, folder
        self._work: queue.SimpleQueue[Snapshot | Frozen | None] = queue.SimpleQueue()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether something waits to be written: more can wait with its owner."""
        return not self._work.empty()

    def put(self, work: Snapshot | Frozen) -> None:
        """Queue a policy or a checkpoint."""
        self._work.put(work)

    def close(self) -> None:
        """Write what waits and end the thread; raises what went wrong on it."""
        self._work.put(None)
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            while (work := self._work.get()) is not None:
                if isinstance(work, Snapshot):
                    self._publish(work)
                else:
                    checkpoint.write(self._folder.checkpoint, work)
                    self._keep_policy()
        except Exception as error:  # noqa: BLE001 -- the update loop raises it
            self.error = error

    def _publish(self, snapshot: Snapshot) -> None:
        file = self._learner.policy_file(snapshot)
        digest = hashlib.sha256(file).hexdigest()
        self._service.publish(PublishedPolicy(snapshot.version, digest, file))

    def _keep_policy(self) -> None:
        """Keep the newest policy beside the checkpoint."""
        policy = self._service.policy
        if policy is not None:
            write_atomically(self._folder.latest_policy, policy.file)


class LearnerProcess:
    """Joins service, learner and publisher until every robot has said goodbye."""

    def __init__(self, options: LearnerOptions, leader: Leader | None = None) -> None:
        """Bind the socket and say where; raises WireError when the address cannot be used."""
        self._leader = leader
        self._device = device.find(options.device)
        self._folder = RunFolder(Path(options.folder))
        self._config: RunConfig = self._folder.read_config()
        self._inbox = Inbox()
        self._lifeline = Lifeline(wake=self._inbox.wake)
        self._door = Door(options)
        self._service = Service(
            self._door.socket,
            self._folder.replay,
            self._inbox,
            steps=self._config.steps,
            objection_to_name=self._door.objection_to_name,
            objection_to_contract=lambda contract: priors.objection(self._config.prior, contract),
        )
        self._ready_at = 0.0
        """When robots could be welcomed, monotonic, s."""
        self._updating_s = 0.0
        self._resumed_from: Resumed | None = None
        tell(event="listening", endpoint=self._door.endpoint)

    def run(self) -> None:
        """Learn until the runs are over or the parent asks to stop; then leave a whole folder.

        Raises what went wrong on any of the threads.
        """
        try:
            learner = None
            if not self._lifeline.cut:
                learner = self._earlier_learner()
                self._service.start()
            while not self._service.contract_known.wait(_IDLE_S):
                if self._lifeline.cut:
                    return
            self._raise_service_error()
            self._learn_and_leave(learner or self._new_learner())
        finally:
            with contextlib.suppress(Exception):  # it has been raised, or another error is
                self._service.close()
            self._door.close()

    def _earlier_learner(self) -> Learner | None:
        """A resumed run knows what it has learned, and from what, before any robot calls.

        None for a new run.  Raises PolicyError, StorageError, CheckpointError.
        """
        try:
            document = self._folder.contract_path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError.from_os(self._folder.contract_path, error) from None
        contract = contracts.decode(document)
        learner = self._build(contract)
        self._service.open_log(contract, learner.take)
        self._resume(learner)
        return learner

    def _new_learner(self) -> Learner:
        """Begin with the contract that the first robot has brought."""
        assert self._service.contract is not None
        write_atomically(self._folder.contract_path, contracts.encode(self._service.contract))
        learner = self._build(self._service.contract)
        for chunk in self._inbox.take():
            learner.take(chunk)
        self._resume(learner)
        return learner

    def _build(self, contract: Contract) -> Learner:
        learner = Learner(
            self._config.recipe, contract, seed=self._config.seed, device=self._device
        )
        if self._leader is not None:
            torch.set_num_threads(self._leader.threads)
        elif self._device.type == "cpu":
            take_fastest(rehearse(learner, self._device).update, most_threads())
        else:
            reason = let_replay(learner, CudaGraphs)
            if reason is not None:
                tell(event="notice", text=reason)
        priors.take_in(self._config.prior, learner)
        return learner

    def _resume(self, learner: Learner) -> None:
        """Restore the newest checkpoint into a learner that has its rows, and prove it."""
        self._resumed_from = checkpoint.restore_newest(self._folder.checkpoint, learner)
        if self._resumed_from is not None:
            tell(event="resumed", text=str(self._resumed_from))
        if self._leader is not None:
            learner.lead(self._leader)
        self._set_pace(learner)

    def _learn_and_leave(self, learner: Learner) -> None:
        publisher = Publisher(learner, self._service, self._folder)
        metrics = MetricsWriter(self._folder.path)
        publisher.put(learner.snapshot())
        self._service.turned_at = self._ready_at = time.monotonic()
        try:
            self._learn(learner, publisher, metrics)
            self._leave(learner, publisher, metrics)
        finally:
            for thread in (publisher, metrics):
                with contextlib.suppress(Exception):  # it has been raised, or another error is
                    thread.close()

    def _learn(self, learner: Learner, publisher: Publisher, metrics: MetricsWriter) -> None:
        """Spend the budget; publish, checkpoint and report on the way."""
        config = self._config.recipe.learner
        started = now = time.monotonic()
        next_status, next_checkpoint = started, started + config.checkpoint_s
        while not (self._lifeline.cut or self._over(learner)):
            idle = learner.owed < 1
            for chunk in self._inbox.take(timeout_s=_IDLE_S if idle else 0.0):
                learner.take(chunk)
            self._raise_service_error()
            if publisher.error is not None:
                raise publisher.error
            before = time.monotonic()
            if learner.owed >= 1:
                learner.update()
            self._set_pace(learner)
            self._service.turned_at = now = time.monotonic()
            self._updating_s += now - before
            if learner.policy_due and not publisher.busy:
                publisher.put(learner.snapshot())
            if now >= next_checkpoint and not publisher.busy:
                publisher.put(checkpoint.freeze(learner))
                next_checkpoint = now + config.checkpoint_s
            if now >= next_status:
                self._report(learner, metrics)
                next_status = now + _STATUS_S
        self._report(learner, metrics)

    def _over(self, learner: Learner) -> bool:
        """Whether the robots have gone for good and everything they paid for is done.

        Of its own runners a run knows how many must say goodbye, after as many rows as were asked
        for: one that was killed is started again, though its uplink has said goodbye.  Robots from
        elsewhere are gone when there are rows enough and nobody is left.  Those that a restart or
        the death of an uplink has cut off get time to call again.
        """
        service = self._service
        if learner.owed >= 1 or learner.env_steps + learner.not_finite < service.ledger.rows:
            return False
        if self._config.runners:
            parted = len(service.ledger.parted) >= self._config.runners
            return parted and service.complete and not service.present
        since = time.monotonic() - SILENCE_S
        awaited = service.ledger.awaits(since, opened=self._ready_at)
        return service.enough and not service.present and not awaited

    def _leave(self, learner: Learner, publisher: Publisher, metrics: MetricsWriter) -> None:
        """Take in the last rows, publish and checkpoint the last state, write the report."""
        self._service.stop()
        for chunk in self._inbox.take():
            learner.take(chunk)
        publisher.put(learner.snapshot(last=True))
        publisher.put(checkpoint.freeze(learner))
        publisher.close()
        policy = self._service.policy
        if policy is not None:
            write_atomically(self._folder.final_policy, policy.file)
        metrics.close()
        audit = self._service.audit()
        self._service.close()
        report = plain(self._figures(learner)) | {
            "lost": audit.lost,
            "duplicated": audit.duplicated,
            "rows": self._service.ledger.rows,
            "policy_versions": learner.policies,
            "resumed_from": self._resumed_from,
            "torch": str(torch.__version__),
            "device": str(self._device),
            "threads": torch.get_num_threads(),
            "robots": self._robots(),
        }
        self._folder.write_json(self._folder.report_path, report)
        tell(event="report", **report)

    def _report(self, learner: Learner, metrics: MetricsWriter) -> None:
        figures = self._figures(learner)
        metrics.write(learner.env_steps, figures)
        tell(event="status", **figures, robots=self._robots())

    def _robots(self) -> dict[str, Any]:
        """What is known of every robot, by name."""
        ledger = self._service.ledger
        return {
            name: one.figures() | {"parted": name in ledger.parted}
            for name, one in ledger.robots.items()
        }

    def _figures(self, learner: Learner) -> dict[str, Any]:
        """The learner's figures and those of the wire.

        Lost and duplicated speak of the rows on disk; resent rows came again and were dropped.
        """
        ledger, found = self._service.ledger, self._service.found
        figures = figures_of(learner, list(self._service.episodes), updating_s=self._updating_s)
        return figures | {
            "lost": found.lost + ledger.skipped,
            "duplicated": found.duplicated,
            "resent": ledger.duplicates,
            "malformed": ledger.malformed,
            "strangers": self._door.strangers,
            "declined": sum(one.declined for one in ledger.robots.values()),
        }

    def _set_pace(self, learner: Learner) -> None:
        """Tell how many rows there may be on disk; those that are not finite are there as well."""
        if self._config.pace == "learner":
            self._service.allowed_steps = learner.allowed_steps + learner.not_finite

    def _raise_service_error(self) -> None:
        if self._service.error is not None:
            raise self._service.error


def main(options: LearnerOptions) -> int:
    """Run the process; an error of ours becomes one line for the parent and its exit code."""
    try:
        with leading(options.ranks) as leader:
            LearnerProcess(options, leader).run()
    except RobosacError as error:
        incomplete = isinstance(error, CheckpointError | RankLostError)
        code = EXIT_INCOMPLETE if incomplete else EXIT_USER
        tell(event="error", message=str(error), code=code)
        return code
    return EXIT_DONE
