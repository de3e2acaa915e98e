"""Every function of torch that the program calls between a batch and backward(), with its arguments
and its line. This is how a difference is led back to the call that made it."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..fingerprints import is_plain, sample
from ..records import Operation, Where
from .record import Record
from .source import is_own_code, where

MOST = 4000  # operations of one step that are kept
# What only asks or only reports.
DULL = {
    "size", "dim", "numel", "item", "tolist", "detach", "requires_grad_", "backward", "shape",
    "is_floating_point", "is_complex", "_set_grad_enabled", "stride", "element_size", "cpu",
    "numpy", "__len__", "__repr__", "__format__", "__get__", "record_stream", "data_ptr",
    "is_contiguous", "storage_offset", "untyped_storage", "__hash__", "__bool__", "get_device",
}  # fmt: skip


# Statements such as `p -= rate * p.grad`, and assignments to p.data and to a part of p.
WRITES = {
    "__set__", "__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__idiv__",
    "__ifloordiv__", "__imod__", "__ipow__",
}  # fmt: skip


def is_write(name: str) -> bool:
    """Whether a function of this name changes its first argument."""
    if name.startswith("__"):
        return name in WRITES
    return name.endswith("_") and name not in ("requires_grad_", "resolve_conj_", "retain_grad_")


def tensors(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """All tensors in nested containers, with a name for each."""
    if isinstance(value, Tensor):
        yield path, value
    elif depth < 8 and isinstance(value, dict):
        for key, part in value.items():
            yield from tensors(part, f"{path}/{key}", depth + 1)
    elif depth < 8 and isinstance(value, (list, tuple)):
        for i, part in enumerate(value):
            yield from tensors(part, f"{path}/{i}", depth + 1)


def described(value: Any) -> str:
    """An argument that is no tensor, as text that is equal where the argument is."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(described(part) for part in value[:8])}]"
    if isinstance(value, (bool, int, float, str, type(None), torch.dtype)):
        return repr(value)
    return "tensor" if isinstance(value, Tensor) else type(value).__name__


def _sums(args: Any, kwargs: Any) -> list[int]:
    return [sample(t)[0] for _, t in tensors((args, kwargs)) if is_plain(t)]


class Operations(TorchFunctionMode):
    """Active while the program runs, until it compiles something: a compiler must not see it."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record
        self.is_on = False
        self.is_open = False  # between the first layer and backward()
        self.is_stepping = False  # within an optimizer's step
        self.kept: list[Operation] = []
        self.early: deque[Operation] = deque(maxlen=60)
        self.right: list[tuple[int, int]] = []
        self.layers: list[str] = []
        self.parameters: dict[int, str] = {}  # by the address of their data
        self.gradients: dict[int, str] = {}
        self.note = record.watched(self._note)
        self.write = record.watched(self._write)
        self.sums = record.watched(_sums)

    def start(self) -> None:
        self.__enter__()
        self.is_on = True

    def stop(self) -> None:
        """Take it off the stack, if it is on top; it does nothing from now on in any case."""
        if self.is_on:
            self.is_on = False
            stack = torch.overrides._get_current_function_mode_stack()
            if stack and stack[-1] is self:
                self.__exit__(None, None, None)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        went_in = None
        if self.is_open and self.is_on and is_write(name) and not self.record.busy:
            went_in = self.sums(args, kwargs)  # it is written over
        result = func(*args, **kwargs)
        if self.is_on and not self.record.busy:
            frame = sys._getframe(1)
            if is_write(name) and self.parameters and self.write(name, func, args, kwargs, frame):
                pass  # a weight or a gradient, which is told by itself
            elif self.is_stepping and not self.is_open:
                pass  # what an optimizer computes
            elif name not in DULL and not name.startswith("_record_function"):
                self.note(name, args, kwargs, result, frame, went_in)
        return result

    def _note(
        self, name: str, args: Any, kwargs: Any, result: Any, frame: Any, went_in: list[int] | None
    ) -> None:
        out = result[0] if isinstance(result, tuple) and result else result
        if name == "__setitem__":
            out = args[0]
        if not isinstance(out, Tensor) or torch._C._get_tracing_state():
            return
        if out.dtype == torch.bool:
            if name in ("eq", "__eq__") and out.dim() == 1 and is_plain(out):
                self.right.append((int(out.sum()), len(out)))
            return
        if not (out.is_floating_point() or out.is_complex()):
            return
        if not self.is_open:
            if is_own_code(frame.f_code.co_filename):
                self.early.append(self._operation(name, args, kwargs, out, where(1), None))
        elif len(self.kept) < MOST:
            if went_in is None:
                went_in = _sums(args, kwargs) if is_plain(out) else []
            self.kept.append(self._operation(name, args, kwargs, out, where(2), went_in))

    def _operation(
        self, name: str, args: Any, kwargs: Any, out: Tensor, place: Where, inputs: list[int] | None
    ) -> Operation:
        given = {f"argument {i + 1}": described(v) for i, v in enumerate(args)}
        given |= {key: described(value) for key, value in kwargs.items()}
        value, values, norm = 0, [0.0], 0.0
        if inputs is not None and is_plain(out):
            value, values, norm = sample(out)
        return {
            "name": name.strip("_"),
            "given": {k: v for k, v in given.items() if v != "tensor"},
            "inputs": inputs or [],
            "value": value,
            "values": values,
            "norm": norm,
            "dtype": str(out.dtype).removeprefix("torch."),
            "count": out.numel(),
            "graph": out.requires_grad,
            "layer": self.layers[-1] if self.layers else "",
            "where": place,
        }

    def _write(self, name: str, func: Any, args: Any, kwargs: Any, frame: Any) -> bool:
        """Whether what the program changes is a parameter or a gradient, which is told of its own
        code."""
        target = args[0] if args else kwargs.get("input")
        if isinstance(target, (list, tuple)) and target:  # torch._foreach_mul_ and its like
            target = target[0]
        if not isinstance(target, Tensor) or not is_plain(target):
            return False
        address = target.data_ptr()
        known = (("weight", self.parameters), ("gradient", self.gradients))
        what, names = next((v for v in known if address in v[1]), ("", {}))
        if not what:
            return False
        if not is_own_code(frame.f_code.co_filename):
            return True
        if isinstance(frame.f_locals.get("self"), torch.optim.Optimizer):
            return True  # one that the program brings along
        if name == "__set__":
            value = args[1] if len(args) > 1 else None
            if func != Tensor.data.__set__ or not isinstance(value, Tensor):  # type: ignore[attr-defined]
                return True
        given = {f"argument {i}": described(v) for i, v in enumerate(args) if i}
        given |= {key: described(value) for key, value in kwargs.items()}
        self.record.write(
            "touched", what=what, name=names[address], operation=name.strip("_"),
            given={k: v for k, v in given.items() if v != "tensor"}, where=where(),
        )  # fmt: skip
        return True

    def cut(self, first: int) -> list[Operation]:
        """Take those that came last, from number `first` on."""
        kept = self.kept[first:]
        del self.kept[first:]
        return kept

    def take(self) -> tuple[list[Operation], list[tuple[int, int]]]:
        kept, right = self.kept, self.right
        self.kept, self.right = [], []
        return kept, right
