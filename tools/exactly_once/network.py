"""How runners reach the learner: directly, through fault proxies, or across network namespaces."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
PYTHON = (sys.executable, "-u")
_FIRST_PORT, _PORTS = 20_000, 10_000
"""Below the range that Linux takes the near ends of connections from."""
_LINK = "delay 50 20", "limit 1000000"


class Proxy:
    """A fault proxy, in a process of its own."""

    def __init__(self, *, listen: str, target: str, prefix: Sequence[str] = ()) -> None:
        """Start it; `prefix` is what the command line begins with."""
        self._process = subprocess.Popen(
            [*prefix, *PYTHON, "tools/fault_proxy.py", listen, target],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self._answer()
        """Where it listens, HOST:PORT."""

    def order(self, command: str) -> None:
        """Have a command carried out; returns when it holds."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        if not answer:
            code = self._process.wait()
            message = f"fault proxy has ended with exit code {code}; see what it says above"
            raise RuntimeError(message)
        return answer


class Network:
    """Everything on loopback; with `faults`, every runner has a proxy of its own."""

    separate = False
    """Whether the learner listens where other machines can reach it, and so needs keys."""

    def __init__(self, *, runners: int, faults: bool) -> None:
        """Choose a port for the learner that is free now, and start the proxies."""
        self.learner = self._learner_address()
        """Where the learner listens, HOST:PORT."""
        self.learner_prefix: list[str] = []
        """What a command line begins with that shall run on the learner's machine."""
        self._stack = contextlib.ExitStack()
        self.proxies: list[Proxy] = []
        try:
            self._lay(runners)
            if faults:
                self.proxies += [self._proxy(index) for index in range(runners)]
        except BaseException:
            self._stack.close()
            raise
        for proxy in self.proxies:
            for command in _LINK:
                proxy.order(command)

    def runner_prefix(self, index: int) -> list[str]:
        """What a command line begins with that shall run on a runner's machine."""
        del index
        return []

    def endpoint(self, index: int) -> str:
        """Where a runner finds the learner."""
        return f"tcp://{self.proxies[index].address if self.proxies else self.learner}"

    def pull(self, index: int) -> None:
        """Pull the cable of a runner: packets are lost, and nobody is told; raises ValueError."""
        message = f"cable of runner {index} on loopback; expected namespaces, which have cables"
        raise ValueError(message)

    def plug_in(self, index: int) -> None:
        """Put the cable of a runner back; raises ValueError."""
        message = f"cable of runner {index} on loopback; expected namespaces, which have cables"
        raise ValueError(message)

    def close(self) -> None:
        """Take everything down; may be called any number of times."""
        self._stack.close()

    def _learner_address(self) -> str:
        """Choose a port that no outgoing connection is given while the learner is dead."""
        for number in range(_PORTS):
            port = _FIRST_PORT + (os.getpid() + number) % _PORTS
            with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
                return f"127.0.0.1:{port}"
        message = f"no port of 127.0.0.1 from {_FIRST_PORT} on is free; expected one of {_PORTS}"
        raise RuntimeError(message)

    def _lay(self, runners: int) -> None:
        """Nothing is needed on loopback."""

    def _proxy(self, index: int) -> Proxy:
        del index
        return self._start_proxy("127.0.0.1:0")

    def _start_proxy(self, listen: str, prefix: Sequence[str] = ()) -> Proxy:
        proxy = Proxy(listen=listen, target=self.learner, prefix=prefix)
        self._stack.callback(proxy.close)
        return proxy


class Namespaces(Network):
    """The learner and every runner in a network namespace of its own, the proxies between them.

    Runner i is 10.77.i+1.2, its proxy 10.77.i+1.1; the learner is 10.77.0.2.  Nothing is routed:
    only the proxies connect the two sides.
    """

    separate = True

    def __init__(self, *, runners: int, faults: bool) -> None:
        """Make the namespaces and the cables between them; needs root."""
        self._tag = f"rbt{os.getpid()}"
        self._middle = f"{self._tag}m"
        super().__init__(runners=runners, faults=True)
        if not faults:
            for proxy in self.proxies:
                proxy.order("delay 0 0")
                proxy.order("limit 0")

    def runner_prefix(self, index: int) -> list[str]:
        """Enter the runner's namespace."""
        return _enter(f"{self._tag}r{index}")

    def _learner_address(self) -> str:
        return "10.77.0.2:7777"

    def _lay(self, runners: int) -> None:
        learner = f"{self._tag}l"
        robots = [f"{self._tag}r{index}" for index in range(runners)]
        for name in (self._middle, learner, *robots):
            _ip("netns", "add", name)
            self._stack.callback(_ip, "netns", "del", name)
            _ip("-n", name, "link", "set", "lo", "up")
        for number, name in enumerate((learner, *robots)):
            self._cable(name, number)
        self.learner_prefix = _enter(learner)

    def pull(self, index: int) -> None:
        """Take down the middle end of the cable."""
        _ip("-n", self._middle, "link", "set", self._device(index + 1), "down")

    def plug_in(self, index: int) -> None:
        """Take it up again."""
        _ip("-n", self._middle, "link", "set", self._device(index + 1), "up")

    def _device(self, number: int) -> str:
        return f"{self._tag}v{number}"

    def _cable(self, name: str, number: int) -> None:
        """Join a namespace to the middle one by a pair of virtual interfaces."""
        here, there = self._device(number), "eth0"
        _ip("-n", self._middle, "link", "add", here, "type", "veth", "peer", "name", there,
            "netns", name)  # fmt: skip
        ends = (self._middle, here, 1), (name, there, 2)
        for namespace, device, host in ends:
            _ip("-n", namespace, "addr", "add", f"10.77.{number}.{host}/24", "dev", device)
            _ip("-n", namespace, "link", "set", device, "up")

    def _proxy(self, index: int) -> Proxy:
        return self._start_proxy(f"10.77.{index + 1}.1:7777", _enter(self._middle))


def why_no_namespaces() -> str | None:
    """Why this machine cannot have them, in one line; None when it can."""
    if os.geteuid() != 0:
        return "network namespaces need root; run again with sudo, or without --namespaces"
    name = f"rbt{os.getpid()}try"
    try:
        _ip("netns", "add", name)
        _ip("-n", name, "link", "add", "name", "try0", "type", "veth", "peer", "name", "try1")
    except (OSError, subprocess.CalledProcessError) as error:
        return f"this machine gives no network namespaces ({error})"
    finally:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            _ip("netns", "del", name)
    return None


def _enter(namespace: str) -> list[str]:
    return ["ip", "netns", "exec", namespace]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)  # noqa: S607 -- of the path
