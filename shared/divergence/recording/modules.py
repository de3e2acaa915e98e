"""What a model consists of: its tensors by name, the settings of its layers, its hooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from ..fingerprints import digest
from ..records import Where
from .operations import described, tensors


def name_of(number: int, name: str) -> str:
    """A name that no other model's parameter has."""
    return f"{number}.{name}" if number else name


def settings(
    module: nn.Module, made: Mapping[int, Where]
) -> list[tuple[str, str, dict[str, str], Where]]:
    """Of every module: name, type, what its plain attributes and its own text say, and where it
    was made."""
    found = []
    for name, part in module.named_modules():
        if hasattr(part, "trainer") or hasattr(part, "_fabric"):
            continue  # a LightningModule has a hundred attributes that are no settings of a layer
        plain = {
            key: described(value)
            for key, value in vars(part).items()
            if not key.startswith("_") and key != "training" and is_setting(value)
        }
        if type(part).extra_repr is not nn.Module.extra_repr:
            plain["it says"] = part.extra_repr()
        found.append((name, type(part).__name__, plain, made.get(id(part), [])))
    return found


def is_setting(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) <= 8 and all(is_setting(part) for part in value)
    return isinstance(value, (bool, int, float, str, type(None)))


def loose(module: nn.Module) -> list[str]:
    """Layers and tensors kept as plain attributes or in plain lists, which are not registered."""
    registered = {id(m) for m in module.modules()}
    registered |= {id(t) for t in (*module.parameters(), *module.buffers())}
    found = []
    for name, part in module.named_modules():
        if hasattr(part, "trainer"):
            continue
        for key, value in vars(part).items():
            if key.startswith("_"):
                continue
            held = [t for _, t in tensors(value)] + list(_modules(value))
            if any(id(thing) not in registered for thing in held):
                found.append(f"{name}.{key}" if name else key)
    return found


def _modules(value: Any, depth: int = 0) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif depth < 4 and isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _modules(part, depth + 1)


HOOKS = {
    "forward": "_forward_hooks", "forward pre": "_forward_pre_hooks",
    "backward": "_backward_hooks", "backward pre": "_backward_pre_hooks",
}  # fmt: skip


def hooks(module: nn.Module) -> list[tuple[str, str]]:
    """Hooks on modules and parameters: where each is, and the kind and name of it."""
    found = []
    for name, part in module.named_modules():
        for kind, attribute in HOOKS.items():
            for hook in (getattr(part, attribute, None) or {}).values():
                found.append((name or type(part).__name__, f"{kind} hook {_called(hook)}"))
    for name, parameter in module.named_parameters():
        for hook in (getattr(parameter, "_backward_hooks", None) or {}).values():
            found.append((name, f"hook {_called(hook)}"))
        for hook in (getattr(parameter, "_post_accumulate_grad_hooks", None) or {}).values():
            found.append((name, f"hook after accumulation {_called(hook)}"))
    return found


def _called(hook: Any) -> str:
    code = getattr(hook, "__code__", None)
    place = f" (line {code.co_firstlineno})" if code else ""
    return getattr(hook, "__qualname__", type(hook).__name__).split(".<locals>.")[-1] + place


class Models:
    """The models that are trained, in the order in which they were first used."""

    def __init__(self) -> None:
        self.all: list[nn.Module] = []
        self.made: dict[int, Where] = {}  # by id: some modules cannot be compared or hashed yet
        self.since: list[int] = []  # the step at which each was first used

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from _unique(
            (name_of(i, n), p) for i, m in enumerate(self.all) for n, p in m.named_parameters()
        )

    def buffers(self) -> Iterator[tuple[str, Tensor]]:
        yield from _unique(
            (name_of(i, n), b) for i, m in enumerate(self.all) for n, b in m.named_buffers()
        )

    def knows(self, module: nn.Module) -> bool:
        """Whether all its parameters are those of models on record, of which it may be a part."""
        known = {id(p) for _, p in self.parameters()}
        return all(id(p) in known for p in module.parameters())

    def add(self, module: nn.Module, step: int) -> int:
        """Its number. One that took the weights over of one that was trained earlier, to train on
        in its place, has the number of that."""
        mine = list(module.parameters())
        for i, model in enumerate(self.all):
            theirs = list(model.parameters())
            if (
                self.since[i] < step
                and len(mine) == len(theirs)
                and all(
                    a.shape == b.shape and digest(a) == digest(b)
                    for a, b in zip(mine, theirs, strict=True)
                )
            ):
                self.all[i] = module
                return i
        self.all.append(module)
        self.since.append(step)
        return len(self.all) - 1


def _unique(named: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for name, tensor in named:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor
