"""What older versions of torch, from 2.1 on, have otherwise."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as hooks_of
from torch.utils.hooks import RemovableHandle

# Whether this very call is traced by a compiler, which must not see what looks on.
is_compiling: Callable[[], bool] = (
    getattr(torch.compiler, "is_compiling", None) or torch._utils.is_compiling  # type: ignore[attr-defined]
)


def register_after_forward(look: Callable[..., None]) -> RemovableHandle:
    """Have `look(module, args, kwargs, output)` called after the forward pass of any module, and
    `look(module, args, None)` after one that raised an exception."""
    register = hooks_of.register_module_forward_hook
    if "with_kwargs" in inspect.signature(register).parameters:
        return register(look, with_kwargs=True, always_call=True)

    def after_forward(module: nn.Module, args: Any, output: Any) -> None:
        if is_compiling():
            return
        kwargs = sys._getframe(1).f_locals.get("kwargs", {})
        has_failed = sys.exc_info()[0] is not None
        look(module, args, *([] if has_failed else [kwargs]), output)

    return register(after_forward, always_call=True)
