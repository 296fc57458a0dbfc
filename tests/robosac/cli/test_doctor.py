"""`robosac doctor` without a robot or a learner: what is installed."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from robosac.cli.main import main

if TYPE_CHECKING:
    import pytest


def test_everything_that_is_installed_is_told_with_its_version(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of every part of robosac; tools of developers are not among them."""
    assert main(["doctor"]) == 0
    first, *parts = capsys.readouterr().out.splitlines()
    assert first.startswith("robosac ")
    assert [part.split()[0] for part in parts] == ["base", "learn", "sim", "fleet"]
    base, learn, sim, _ = parts
    for part, name in ((base, "pyzmq"), (base, "pyserial"), (learn, "torch"), (sim, "mujoco")):
        assert f"{name} {metadata.version(name)}" in part
    assert "pytest" not in "".join(parts)


def test_what_is_missing_is_told_with_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a robot, which has the base alone."""
    installed = metadata.version

    def version(name: str) -> str:
        if name in {"torch", "onnx"}:
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "version", version)
    assert main(["doctor"]) == 0
    learn = capsys.readouterr().out.splitlines()[2]
    assert learn == "learn  missing onnx, torch: pip install 'robosac[learn]'"
