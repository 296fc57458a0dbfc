"""Which extra of the package brings a library."""

from __future__ import annotations

_EXTRAS = {
    "onnx": "learn",
    "ray": "fleet",
    "rich": "learn",
    "safetensors": "learn",
    "torch": "learn",
}


def how_to_install(module: str) -> str:
    """Say in one line how to get a module that is missing."""
    extra = _EXTRAS.get(module.split(".", maxsplit=1)[0], "sim")
    return f"{module} is not installed; run: pip install 'robosac[{extra}]'"
