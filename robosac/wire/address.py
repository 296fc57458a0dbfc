"""Where a learner listens: HOST:PORT, as people write it and as ZeroMQ does."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from dataclasses import dataclass

from robosac.errors import WireError

PORT_MAX = 65_535
_HOST_PORT = re.compile(
    r"(?:tcp://)?(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:/\[\]]+)):(?P<port>[0-9]{1,6})"
)
_ANY = ("*", "0.0.0.0", "::")  # noqa: S104 -- told apart here, not bound


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a TCP port."""

    host: str
    """Name or IP address; * is every address of this machine."""
    port: int
    """0 is any free one."""

    def __str__(self) -> str:
        """Return what parse_address reads."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """The same for ZeroMQ."""
        return f"tcp://{self}"

    @property
    def is_any_host(self) -> bool:
        """Whether it stands for every address of a machine."""
        return self.host in _ANY


def parse_address(text: str) -> Address:
    """Read HOST:PORT of a learner to connect to; raises WireError.

    IPv6 addresses stand in brackets: [::1]:5555.
    """
    address = _parse(text)
    if address.is_any_host or not address.port:
        raise WireError(
            f"learner {text!r}; expected a machine and the port that `robosac learn` listens on, "
            "as in workstation.local:5555"
        )
    return address


def parse_bind_address(text: str) -> Address:
    """Read HOST:PORT to listen on, the host as an IP address of this machine; raises WireError.

    The host * is every address of this machine, the port 0 any free one.
    """
    address = _parse(text)
    if address.is_any_host:
        return Address("::" if ":" in address.host else "0.0.0.0", address.port)  # noqa: S104
    return Address(_resolve(address.host), address.port)


def is_loopback(address: Address) -> bool:
    """Whether only this machine can reach a resolved address."""
    return ipaddress.ip_address(address.host.partition("%")[0]).is_loopback


def _parse(text: str) -> Address:
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise WireError(f"address {text!r}; expected HOST:PORT, as in 192.168.1.20:5555")
    port = int(match["port"])
    if port > PORT_MAX:
        raise WireError(f"address {text!r} has port {port}; expected 1 to {PORT_MAX}")
    return Address(match["six"] or match["host"], port)


def _resolve(host: str) -> str:
    """First IP address of a name, IPv4 before IPv6; an IP address is its own."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host))
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise WireError(
            f"host {host!r} is unknown; expected an address of this machine, "
            "127.0.0.1 for itself only, or 0.0.0.0 for all it has"
        ) from None
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return str(found[0][4][0])
