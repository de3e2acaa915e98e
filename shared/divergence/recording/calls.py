"""Forward passes, losses and backward passes."""

from __future__ import annotations

import functools
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as hooks_of

from ..fingerprints import Print, dense, digest, fingerprint, is_plain, sample
from ..records import Operation
from . import losses, modules
from .older import is_compiling, register_after_forward
from .operations import Operations, tensors
from .record import Enough, Record, bound, generators
from .scaling import Scaling
from .source import where

# A mark on the graph of autograd, by which a loss is traced back to the forward passes behind it.
MARK = "divergence"
MOST_NODES = 20000


def is_wrapper(module: nn.Module) -> bool:
    """Whether it is a DistributedDataParallel or another wrapper of its kind."""
    inner = getattr(module, "module", None)
    return isinstance(inner, nn.Module) and "Parallel" in type(module).__name__


class Calls:
    """Forward passes, losses and backward passes.

    Attributes:
        depth: how many modules are within their forward pass.
        call: the outermost forward pass that is under way.
        serial: the number of the last forward pass or loss.
        micro: backward passes since the last step.
        pending: calls with a graph, of which it is not known yet whether a backward pass follows.
        prints: fingerprints of the tensors of models that were not trained yet, by `id`.
        versions: of each model, the state of its tensors and what `state` gave of it.
        alive: losses with their graphs, as far as the program still holds them.
        before_pass: called before an outermost forward pass is recorded.
        on_weights: called with the hash of every weight before a backward pass.
        on_call: called before any module is.
        on_use: called with a module whose outermost forward pass begins, when that is on record.
    """

    def __init__(self, record: Record, operations: Operations, models: modules.Models) -> None:
        self.record, self.operations, self.models = record, operations, models
        self.depth, self.in_backward = 0, False
        self.call: dict[str, Any] | None = None
        self.serial = self.micro = 0
        self.pending: list[dict[str, Any]] = []
        self.prints: dict[int, Any] = {}  # of models that were not trained yet
        self.versions: dict[int, tuple[Any, Any]] = {}
        self.alive: list[weakref.ref[Tensor]] = []
        self.scaling = Scaling(record)
        self.before_pass: Callable[[], None] = lambda: None
        self.on_weights: Callable[[dict[str, str]], None] = lambda weights: None
        self.on_call: Callable[[], None] = lambda: None
        self.on_use: Callable[[nn.Module], None] = lambda module: None
        self.begin = record.watched(self._begin)
        self.leaf = record.watched(self._leaf)
        self.finish = record.watched(self._finish)

    def install(self) -> None:
        record = self.record
        for handle in (
            hooks_of.register_module_forward_pre_hook(self.before_forward),
            register_after_forward(self.after_forward),
        ):
            record.undo.callback(handle.remove)
        for name in losses.LOSSES:
            record.wrap(F, name, after=functools.partial(self.after_loss, name))
        record.replace(torch.autograd, "backward", self.around_backward(torch.autograd.backward))
        for name in ("trace", "trace_module"):
            # For TensorBoard's graph of a model, which is neither training nor evaluation.
            record.replace(torch.jit, name, record.unseen(getattr(torch.jit, name)))
        self.scaling.install()

    # Forward

    def before_forward(self, module: nn.Module, args: Any) -> None:
        if is_compiling() or self.in_backward or not self.record.is_ours:
            return
        self.depth += 1
        self.operations.layers.append(type(module).__name__)
        if self.depth == 1 and not self.record.busy:
            self.on_call()
            self.begin(module, args)
        elif self.call is not None and is_wrapper(module):
            self.call["wrapped"] = True

    def after_forward(self, module: nn.Module, args: Any, *rest: Any) -> None:
        """`rest` is (kwargs, output), but one thing where the forward pass raised an exception."""
        if is_compiling() or self.in_backward or not self.record.is_ours:
            return
        self.depth = max(self.depth - 1, 0)
        if self.operations.layers:
            self.operations.layers.pop()
        if self.depth == 0 and len(rest) != 2:
            self.call = None
        if self.call is not None and not self.record.busy:
            if next(module.children(), None) is None:
                self.leaf(module)
            if self.depth == 0:
                self.finish(*rest)
        elif self.depth == 0:
            self.call = None

    def _begin(self, module: nn.Module, args: Any) -> None:
        """The outermost call of a module that has parameters."""
        self.call = None
        if isinstance(module, torch.jit.ScriptModule) or next(module.parameters(), None) is None:
            return
        grad = torch.is_grad_enabled()
        # A wrapper keeps its own mode when what it wraps is asked for eval().
        training = any(m.training for m in module.modules() if next(m.children(), None) is None)
        record = self.record
        if record.step >= record.steps and grad and training and self._begins_a_step():
            raise Enough
        self.flush_evaluation()
        self.before_pass()
        root = module
        while is_wrapper(root):
            root = root.get_submodule("module")
        root = getattr(root, "_orig_mod", root)
        self.operations.is_open = True
        self.call = {
            "step": record.step,
            "number": 0,
            "module": type(root).__name__,
            "wrapped": is_wrapper(module),
            # Without a parameter to train, no graph is built.
            "grad": grad and any(p.requires_grad for p in root.parameters()),
            "training": training,
            "rng": generators(),
            "inputs": [traced(t, rows=True) for _, t in tensors(args)],
            "leaves": [],
            "outputs": [],
            "where": where(),
            "_module": root,
            "_first": len(self.operations.kept),
            "_names": {id(m): name for name, m in root.named_modules()},
        }
        is_known = self.models.knows(root)
        if not grad or not is_known:
            self.call["_state"] = self.state(root)
        if (grad or training) and not is_known:
            # Before batch norm has seen its first batch.
            for t in (*root.parameters(), *root.buffers()):
                if is_plain(t) and id(t) not in self.prints:
                    self.prints[id(t)] = fingerprint(t)
        self.on_use(root)

    def _begins_a_step(self) -> bool:
        return not self.micro

    def state(self, module: nn.Module) -> list[tuple[str, str, list[int]]]:
        """Name, hash and shape of every parameter and buffer; not computed anew while no tensor of
        them was written to."""
        named = [*module.named_parameters(), *module.named_buffers()]
        named = [(n, t) for n, t in named if is_plain(t)]  # a lazy layer has none yet
        version = (self.record.step, [(id(t), _version(t)) for _, t in named])
        if self.versions.get(id(module), (None,))[0] != version:
            state = [(n, digest(t), list(t.shape)) for n, t in named]
            self.versions[id(module)] = version, state
        return self.versions[id(module)][1]

    def _leaf(self, module: nn.Module) -> None:
        assert self.call is not None
        name = self.call["_names"].get(id(module), "?")
        leaf = {"name": name, "type": type(module).__name__, "training": module.training}
        if len(self.call["leaves"]) < 2000:
            self.call["leaves"].append(leaf)

    def _finish(self, kwargs: Any, output: Any) -> None:
        call, self.call = self.call, None
        assert call is not None
        call["inputs"] += [traced(t, rows=True) for _, t in tensors(kwargs)]
        found = [t for _, t in tensors(_plain_output(output))]
        call["outputs"] = [traced(t) for t in found[:8]]
        self.keep("forward", call, found)

    # Losses

    def after_loss(self, name: str, result: Any, arguments: dict[str, Any]) -> None:
        call = losses.called(name, result, arguments)
        if call is None:
            return
        if result.requires_grad:
            self.alive.append(weakref.ref(result))
        self.keep(
            "loss", {"step": self.record.step, "number": 0, **call, "where": where()}, [result]
        )

    def keep(self, kind: str, call: dict[str, Any], results: list[Tensor]) -> None:
        """Mark the graph of what a call gave, or write it down as evaluation if it has none."""
        nodes = [t.grad_fn for t in results if t.grad_fn is not None]
        self.serial += 1
        call.update(_kind=kind, _mark=self.serial, order=self.serial)
        if not nodes:
            if kind == "forward":
                call["_operations"] = self.operations.cut(call["_first"])
            self.evaluated(call)
            return
        for node in nodes:
            # A dictionary, which torch annotates as a method.
            metadata: Any = node.metadata
            metadata.setdefault(MARK, []).append(self.serial)
        self.pending.append(call)

    def evaluated(self, call: dict[str, Any]) -> None:
        """Of an evaluation that is asked for which weights it saw, and what it counted."""
        if call["_kind"] == "loss":
            self.record.write("evaluated loss", **_shown(call))
            return
        # What is counted of a batch comes after its forward pass, so one batch waits.
        self.flush_evaluation()
        self.waiting = call

    waiting: dict[str, Any] | None = None

    def flush_evaluation(self) -> None:
        if self.waiting is None:
            return
        call, self.waiting = self.waiting, None
        operations: list[Operation] = call.get("_operations", [])
        right: list[tuple[int, int]] = []
        step = self.record.step
        is_training = any(c["step"] == step and not c.get("_used") for c in self.pending)
        if "_operations" in call and not is_training:
            more, right = self.operations.take()
            operations += more
        event = {**_shown(call), "state": call.get("_state", [])}
        self.record.write("evaluated", **event, operations=_brief(operations), right=right)

    def flush(self, everything: bool = False) -> None:
        """What led to no backward pass was evaluation, with gradients or without."""
        if everything:
            self.flush_evaluation()
        waiting = []
        for call in self.pending:
            is_old = call["step"] < self.record.step - 1 or not call.get("training", True)
            if call.get("_used"):
                continue
            if everything or is_old:
                self.evaluated(call)
            else:
                waiting.append(call)
        self.pending = waiting
        if everything:
            self.flush_evaluation()

    # Backward

    def around_backward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        before = self.record.watched(lambda a, k: self.before_backward(bound(original, a, k)))
        after = self.record.watched(self.after_backward)

        @functools.wraps(original)
        def backward(*args: Any, **kwargs: Any) -> Any:
            if is_compiling() or self.in_backward or not self.record.is_ours:
                return original(*args, **kwargs)
            begun = before(args, kwargs)
            self.in_backward = True
            try:
                result = original(*args, **kwargs)
            finally:
                self.in_backward = False
            if begun is not None:
                after(begun)
            return result

        return backward

    def before_backward(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.flush_evaluation()
        roots = [t for _, t in tensors(arguments["tensors"])]
        marks, graph = self.walk(roots)
        used = [call for call in self.pending if call["_mark"] in marks]
        for call in used:
            call["_used"] = True
        if self.record.step >= self.record.steps and not self.micro:
            raise Enough  # its forward pass was in eval mode, and looked like evaluation until now
        for call in used:
            module = call.get("_module")
            if module is not None and not self.models.knows(module):
                self.add_model(module, call["where"])
        operations, right = self.operations.take()
        for call in used:
            if "_module" in call:
                call["right"] = right
        self.operations.is_open = False
        early = list(self.operations.early)
        self.operations.early.clear()
        weights = {n: digest(p) for n, p in self.models.parameters()}
        self.on_weights(weights)
        leftover = [(n, p.grad) for n, p in self.models.parameters() if p.grad is not None]
        loss, scale = self.scaling.of(roots[0]) if roots else (None, 1.0)
        return {
            "micro": self.micro,
            "inside": self.operations.is_stepping,
            "forwards": [_shown(c) for c in used if c["_kind"] == "forward"],
            "losses": [_shown(c) for c in used if c["_kind"] == "loss"],
            "operations": operations,
            "early": early,
            "loss": None if loss is None else fingerprint(loss),
            "scale": scale,
            "leftover": [(n, norm([g])) for n, g in leftover],
            "graph": graph,
            "where": where(),
        }

    def walk(self, roots: list[Tensor]) -> tuple[set[int], dict[str, int]]:
        """The marks on a graph, and how many nodes of each kind it has."""
        marks: set[int] = set()
        names: Counter[str] = Counter()
        seen: set[Any] = set()
        todo = [t.grad_fn for t in roots if t.grad_fn is not None]
        while todo and len(seen) < MOST_NODES:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            names[type(node).__name__] += 1
            metadata: Any = node.metadata
            marks.update(metadata.get(MARK, ()))
            todo += [n for n, _ in node.next_functions if n is not None]
        return marks, dict(names)

    def add_model(self, module: nn.Module, place: Any) -> None:
        number = self.models.add(module, self.record.step)
        mine = {id(t) for t in (*module.parameters(), *module.buffers())}
        named = self.models.parameters(), self.models.buffers()
        tensors_ = [
            [(n, self.prints.get(id(t)) or fingerprint(t)) for n, t in part if id(t) in mine]
            for part in named
        ]
        self.record.write(
            "model",
            number=number,
            module=type(module).__name__,
            parameters=tensors_[0],
            buffers=tensors_[1],
            settings=modules.settings(module, self.models.made),
            loose=modules.loose(module),
            hooks=modules.hooks(module),
            frozen=[n for n, p in self.models.parameters() if not p.requires_grad],
            where=place,
        )
        self.prints = {key: kept for key, kept in self.prints.items() if key not in mine}
        self.operations.parameters = {
            p.data_ptr(): n for n, p in self.models.parameters() if is_plain(p)
        }

    def after_backward(self, begun: dict[str, Any]) -> None:
        graded = [(n, p.grad) for n, p in self.models.parameters() if p.grad is not None]
        self.record.write("backward", **begun, gradients=[(n, fingerprint(g)) for n, g in graded])
        self.operations.gradients = {g.data_ptr(): n for n, g in graded if is_plain(g)}
        self.micro += 1

    def still_alive(self) -> int:
        """Losses of earlier steps, with their graphs, that the program still holds."""
        self.alive = [ref for ref in self.alive if ref() is not None]
        return max(len(self.alive) - 1, 0)


def traced(tensor: Tensor, *, rows: bool = False) -> Print:
    """What is kept of what goes into a model or comes out of it."""
    kept = fingerprint(tensor, rows=rows)
    if is_plain(tensor):
        kept["sum"] = sample(tensor)[0]
    return kept


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def norm(values: list[Any]) -> float:
    plain = [dense(v) for v in values if is_plain(v)]
    return sum(float(torch.linalg.vector_norm(v.double())) ** 2 for v in plain) ** 0.5


def _plain_output(output: Any) -> Any:
    """Also what libraries wrap into dataclasses that behave as dicts."""
    return dict(output) if hasattr(output, "keys") and not isinstance(output, dict) else output


def _shown(call: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in call.items() if not k.startswith("_")}


def _brief(operations: list[Any]) -> list[Any]:
    """Of an evaluated batch, at most the first operations: what it gave is on record anyway."""
    return operations[:400]
