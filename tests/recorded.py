"""What tests have for a device that replays: operations are noted and done again, without Python.

Whatever Python decided while they were noted is fixed from then on, as in a graph of CUDA's; what
such a graph cannot have in it is refused: random numbers, and copies from and to the processor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from tests.elsewhere import ELSEWHERE, Far

if TYPE_CHECKING:
    from collections.abc import Callable

    Metrics = dict[str, Tensor]

_COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}  # noqa: SLF001 -- torch's names for them
_UNKNOWN = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output}
_SILENT = torch.ops.aten.native_batch_norm.default
"""Writes running statistics, which its schema does not say."""
_ASKING = torch.ops.aten._local_scalar_dense.default  # noqa: SLF001 -- as above


class _Noted(NamedTuple):
    """One operation."""

    func: Any
    args: Any
    kwargs: Any
    results: list[Tensor]


class _Noting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes operations, and remembers what was where they wrote."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.noted: list[_Noted] = []
        self._made: set[int] = set()
        """Storages that came into being meanwhile."""
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 -- as torch has it
        """Do it and note it."""
        del types
        kwargs = dict(kwargs or {})
        given = _tensors((args, kwargs))
        far = [one for one in given if isinstance(one, Far)]
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise RuntimeError(f"{func}: a random number in a graph would never change")
        if func is _ASKING or (func in _COPIES and len(far) < len(given)):
            raise RuntimeError(f"{func}: a graph has no copy between the processor and a device")
        if _UNKNOWN & {*func.tags} and not _whole(kwargs, args):
            raise RuntimeError(f"{func}: a graph cannot wait for how much there is")
        for argument, value in zip(func._schema.arguments, args, strict=False):  # noqa: SLF001 -- torch has no other
            if argument.alias_info is not None and argument.alias_info.is_write:
                for one in _tensors(value):
                    self._keep(one)
        if func is _SILENT or (func._schema.is_mutable and kwargs):  # noqa: SLF001 -- as above
            for one in far:
                self._keep(one)
        found = func(*args, **kwargs)
        results = _tensors(found)
        self._made |= {_memory(one) for one in results} - {_memory(one) for one in far}
        bare = pytree.tree_map_only(Tensor, _bare, (args, kwargs, results))
        self.noted.append(_Noted(func, *bare))
        return found

    @torch.no_grad()
    def undo(self) -> None:
        """Let all that was there before be what it was."""
        for tensor, before in reversed(self._before.values()):
            tensor.copy_(before)

    def _keep(self, tensor: Tensor) -> None:
        memory = _memory(tensor)
        if memory not in self._made and id(tensor) not in self._before:
            self._before[id(tensor)] = tensor, tensor.detach().clone()


class RecordedOperations:
    """A device that replays, for as long as Elsewhere() is open."""

    device = ELSEWHERE

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.warmed = self.recorded = self.replayed = self.sent = 0
        self.unread: set[int] = set()
        """Buffers that were sent and not waited for."""

    def warm(self, work: Callable[[], Metrics]) -> Metrics:
        """Do work."""
        self.warmed += 1
        return work()

    def record(self, work: Callable[[], Metrics]) -> tuple[Callable[[], None], Metrics]:
        """Record work and leave no trace of having done it."""
        self.recorded += 1
        with _Noting() as noting:
            metrics = work()
        noting.undo()

        @torch.no_grad()
        def replay() -> None:
            self.replayed += 1
            for one in noting.noted:
                found = _tensors(one.func(*one.args, **one.kwargs))
                for place, result in zip(one.results, found, strict=True):
                    if _memory(place) != _memory(result):
                        place.copy_(result)

        return replay, metrics

    def buffer(self, size: int) -> Tensor:
        """Memory of the processor's."""
        return torch.empty(size, dtype=torch.uint8)

    def send(self, buffer: Tensor, there: Tensor) -> Callable[[], None]:
        """Copy a buffer, which is to be left alone until somebody has waited."""
        self.sent += 1
        assert id(buffer) not in self.unread, "was overwritten while the device might read it"
        self.unread.add(id(buffer))
        there.copy_(buffer)
        return lambda: self.unread.discard(id(buffer))


class Forgetful(RecordedOperations):
    """A device that replays with what it was given first."""

    def send(self, buffer: Tensor, there: Tensor) -> Callable[[], None]:
        """Copy nothing but the first."""
        self.sent += 1
        if self.sent == 1:
            there.copy_(buffer)
        return lambda: None


class Incapable(RecordedOperations):
    """A device that cannot record."""

    def record(self, work: Callable[[], Metrics]) -> object:  # type: ignore[override]
        """Give up as torch does, which says last what matters least."""
        try:
            raise RuntimeError(
                "CUDA error: operation not permitted\nCompile with TORCH_USE_CUDA_DSA"
            )
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")


def _bare(tensor: Tensor) -> Tensor:
    """Without its gradient; what is the processor's as it is now, since a graph keeps its value."""
    return tensor.detach() if isinstance(tensor, Far) else tensor.detach().clone()


def _whole(*tree: object) -> bool:
    """Whether the places that are asked for have whole numbers, and are not chosen by a mask."""
    places = [one for one in _tensors(tree) if one.dtype in {torch.int64, torch.bool}]
    return bool(places) and all(one.dtype == torch.int64 for one in places)


def _tensors(tree: object) -> list[Tensor]:
    return [one for one in pytree.tree_leaves(tree) if isinstance(one, Tensor)]


def _memory(tensor: Tensor) -> int:
    near = tensor.near if isinstance(tensor, Far) else tensor
    return near.untyped_storage().data_ptr()
