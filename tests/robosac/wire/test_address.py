"""Addresses: what people write, what ZeroMQ gets, and who can reach it."""

from __future__ import annotations

import socket

import pytest

from robosac.errors import WireError
from robosac.wire.address import Address, is_loopback, parse_address, parse_bind_address

ANY = "0.0.0.0"  # noqa: S104 -- only read here


@pytest.mark.parametrize(
    ("text", "expected", "endpoint"),
    [
        ("127.0.0.1:5555", Address("127.0.0.1", 5555), "tcp://127.0.0.1:5555"),
        ("lab-pc.local:1", Address("lab-pc.local", 1), "tcp://lab-pc.local:1"),
        ("[::1]:5555", Address("::1", 5555), "tcp://[::1]:5555"),
        ("[fe80::1%eth0]:65535", Address("fe80::1%eth0", 65535), "tcp://[fe80::1%eth0]:65535"),
        ("tcp://127.0.0.1:5555", Address("127.0.0.1", 5555), "tcp://127.0.0.1:5555"),
    ],
)
def test_addresses_are_read(text: str, expected: Address, endpoint: str) -> None:
    """Names, IPv4, IPv6 in brackets, and what a learner prints as its endpoint."""
    address = parse_address(text)
    assert address == expected
    assert address.endpoint == endpoint
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["", "5555", "host", "host:", ":5555", "host:port", "::1:5555", "a b:1", "host:1/x", "host:-1"],
)
def test_what_is_no_address_is_told_in_one_line(text: str) -> None:
    """With an example of one."""
    for parse in (parse_address, parse_bind_address):
        with pytest.raises(WireError, match=r"expected HOST:PORT, as in") as caught:
            parse(text)
        assert "\n" not in str(caught.value)


def test_a_number_that_is_no_port_is_refused() -> None:
    """ZeroMQ itself would take some of them for another port."""
    for parse in (parse_address, parse_bind_address):
        with pytest.raises(WireError, match="port 65536; expected 1 to 65535"):
            parse("127.0.0.1:65536")


@pytest.mark.parametrize("text", ["0.0.0.0:5555", "*:5555", "[::]:5555", "127.0.0.1:0"])
def test_a_place_to_listen_is_no_place_to_call(text: str) -> None:
    """Every address of a machine, or any free port, names no learner."""
    with pytest.raises(WireError, match="as in workstation"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "expected", "loopback"),
    [
        ("127.0.0.1:0", Address("127.0.0.1", 0), True),
        ("127.9.9.9:5555", Address("127.9.9.9", 5555), True),
        ("[::1]:0", Address("::1", 0), True),
        ("localhost:0", Address("127.0.0.1", 0), True),
        ("*:5555", Address(ANY, 5555), False),
        ("0.0.0.0:5555", Address(ANY, 5555), False),
        ("[::]:5555", Address("::", 5555), False),
        ("192.168.1.20:5555", Address("192.168.1.20", 5555), False),
        ("[fe80::1%lo]:5555", Address("fe80::1%lo", 5555), False),
    ],
)
def test_who_can_reach_it_is_known_before_binding(
    text: str, expected: Address, *, loopback: bool
) -> None:
    """Decided by the resolved IP address, never by how it was written."""
    address = parse_bind_address(text)
    assert address == expected
    assert is_loopback(address) is loopback


def test_an_unknown_host_cannot_be_listened_on() -> None:
    """A name that resolves to nothing is told, with what would do."""
    with pytest.raises(WireError, match=r"'nowhere\.invalid' is unknown.*127\.0\.0\.1 for itself"):
        parse_bind_address("nowhere.invalid:5555")


def test_a_name_stands_for_its_ipv4_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Robots look names up for IPv4 only: a learner must not listen on IPv6 where they call."""
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: list(found))
    assert parse_bind_address("localhost:5555") == Address("127.0.0.1", 5555)
