"""A device that no machine lacks: the processor computes, and torch believes it is elsewhere.

With it the rules that an accelerator would enforce hold on any machine: tensors of two devices do
not meet in one operation, and asking a tensor for its number is seen, since there it would wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Callable

ELSEWHERE = torch.device("meta")
"""Of the devices that torch knows, the one that needs no driver."""
_MOVING = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}  # noqa: SLF001 -- torch's names for them
_OF_ONE_TYPE = {
    torch.ops.aten.native_layer_norm.default,
    torch.ops.aten.native_layer_norm_backward.default,
}
_ASKING = torch.ops.aten._local_scalar_dense.default  # noqa: SLF001 -- as above


class Far(Tensor):
    """A tensor that is elsewhere; `near` has its numbers."""

    near: Tensor

    @staticmethod
    def __new__(cls: type[Self], near: Tensor) -> Self:
        """Wrap a tensor of the processor's."""
        far: Self = Tensor._make_wrapper_subclass(  # noqa: SLF001 -- the only way to make one
            cls,
            near.size(),
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=ELSEWHERE,
        )
        far.near = near
        return far

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch says static, and calls it with a class
        cls,
        func: Any,  # noqa: ANN401 -- as torch has it
        types: Any,  # noqa: ANN401
        args: Any = (),  # noqa: ANN401
        kwargs: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Nothing is computed elsewhere unless Elsewhere() is there to do it."""
        del cls, types, args, kwargs
        raise AssertionError(f"{func} outside of Elsewhere()")


class Elsewhere(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is open, ELSEWHERE is a device."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.asked = 0
        """How often a number was asked for, which would have waited for the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 -- as torch has it
        """Compute with what is near, and say where the outcome is."""
        del types
        kwargs = dict(kwargs or {})
        tensors = [one for one in pytree.tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        far = [one for one in tensors if isinstance(one, Far)]
        if far and func not in _MOVING:
            _check_company(func, tensors)
        if far and func in _OF_ONE_TYPE and len({one.dtype for one in tensors}) > 1:
            raise RuntimeError(f"{func}: tensors of several types; the processor alone knows how")
        self.asked += bool(far) and func is _ASKING
        result_far = isinstance(args[0], Far) if func in _MOVING and args else bool(far)
        if kwargs.get("device") is not None:
            result_far = torch.device(kwargs["device"]) == ELSEWHERE
            kwargs["device"] = torch.device("cpu")
        nearby, options = pytree.tree_map_only(Far, lambda one: one.near, (args, kwargs))
        found = func(*nearby, **options)
        return pytree.tree_map_only(Tensor, _sorted(far, result_far=result_far), found)


def _check_company(func: object, tensors: list[Tensor]) -> None:
    """Refuse what an accelerator refuses: numbers alone may come from the processor."""
    strangers = [one for one in tensors if one.dim() and not isinstance(one, Far)]
    if strangers:
        raise RuntimeError(f"{func}: a tensor {tuple(strangers[0].shape)} is on another device")


def _sorted(far: list[Far], *, result_far: bool) -> Callable[[Tensor], Tensor]:
    """Return who a result is: one of those that were given, or a new one where it is to be."""
    known = {id(one.near): one for one in far}

    def found(near: Tensor) -> Tensor:
        if id(near) in known:
            return known[id(near)]
        return Far(near) if result_far else near

    return found
