"""What a training program does, step by step, written down from outside: the program is not
touched. PyTorch's global hooks where there are any, and wrappers around its functions elsewhere.

One JSON object a line, in the order of events. `step` is the number of optimizer steps begun before
the event, counted over all optimizers. `where` holds lines of the program's own code, innermost
first: [file, line, function].
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import sysconfig
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader

from shared.divergence.fingerprints import checksum, fingerprint, plain

LOSSES = (
    "cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "gaussian_nll_loss",
)  # fmt: skip
HERE = Path(__file__).resolve().parent
OWN = {str(HERE / name) for name in ("recorder.py", "launch.py", "fingerprints.py")}
STDLIB = sysconfig.get_paths()["stdlib"]
# A mark on the graph of autograd, by which a loss is traced back to the forward passes behind it.
MARK = "divergence"


class Enough(BaseException):
    """All steps asked for are on record; not an `Exception`, so that no program catches it."""


@functools.cache
def is_own_code(file: str) -> bool:
    """Whether a file belongs to the program and not to a library or to Python."""
    if file.startswith("<") or file in OWN:
        return False
    if "site-packages" in file or "dist-packages" in file:
        return False
    return not file.startswith(STDLIB + os.sep)


def where(limit: int = 4) -> list[list[Any]]:
    frame, found = sys._getframe(1), []
    while frame is not None and len(found) < limit:
        code = frame.f_code
        if is_own_code(code.co_filename):
            found.append([os.path.abspath(code.co_filename), frame.f_lineno, code.co_name])
        frame = frame.f_back
    return found


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


def random_state() -> str:
    """The state of the generators that dropout draws from, as a checksum."""
    state = zlib.crc32(torch.get_rng_state().numpy())
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state = zlib.crc32(torch.cuda.get_rng_state().numpy(), state)
    return f"{state:08x}"


def counted(method: Callable) -> Callable:
    """Adds up the time spent on recording; and what the recorder itself calls is not recorded."""

    @functools.wraps(method)
    def timed(self: Recorder, *args: Any, **kwargs: Any) -> Any:
        if self.busy or threading.get_ident() != self.thread:
            return None
        self.busy, started = True, time.perf_counter()
        try:
            return method(self, *args, **kwargs)
        finally:
            self.busy = False
            self.seconds += time.perf_counter() - started

    return timed


class Recorder:
    """A context manager: while it is entered, what this thread does is written to `path`.

    Args:
        path: the file of records; written line by line, so that it is there after a crash.
        steps: optimizer steps after which the next training step raises `Enough`.
    """

    def __init__(self, path: str | Path, steps: int) -> None:
        self.path, self.steps = path, steps
        self.step = self.micro = 0
        self.thread, self.busy, self.seconds = threading.get_ident(), False, 0.0
        self.depth, self.call, self.in_backward = 0, None, False
        self.serial = 0
        self.pending: list[dict[str, Any]] = []  # not yet known to be training or evaluation
        self.models: list[nn.Module] = []
        self.optimizers: dict[int, dict[str, Any]] = {}
        self.scheduled: set[int] = set()
        self.versions: dict[int, tuple] = {}
        self.is_built = False
        self.undo = contextlib.ExitStack()

    # Putting the hooks in place

    def __enter__(self) -> Recorder:
        self.file = open(self.path, "w", encoding="utf-8")
        self.started = time.perf_counter()
        self.write("start", threads=torch.get_num_threads(), torch=torch.__version__)
        for handle in (
            hooks.register_module_forward_pre_hook(self.before_forward),
            hooks.register_module_forward_hook(
                self.after_forward, with_kwargs=True, always_call=True
            ),
            hooks.register_module_parameter_registration_hook(self.on_parameter),
            register_optimizer_step_post_hook(self.after_step),
        ):
            self.undo.callback(handle.remove)
        for name in LOSSES:
            self.wrap(F, name, after=functools.partial(self.after_loss, name))
        self.replace(torch.autograd, "backward", self.around_backward(torch.autograd.backward))
        for module in (nn.utils, nn.utils.clip_grad):
            self.wrap(module, "clip_grad_norm_", after=self.after_clip)
            self.wrap(module, "clip_grad_value_", after=self.after_clip)
        self.wrap(torch.amp.GradScaler, "unscale_", after=self.after_unscale)
        self.wrap(torch, "manual_seed", after=self.after_seed)
        self.wrap(torch, "save", before=self.before_save)
        for name in ("trace", "trace_module"):
            self.replace(torch.jit, name, self.unseen(getattr(torch.jit, name)))
        self.wrap(Optimizer, "__init__", after=self.after_optimizer)
        self.replace(DataLoader, "__iter__", self.around_iter(DataLoader.__iter__))
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo.close()
        self.flush(everything=True)
        leaving = isinstance(error, SystemExit) and error.code in (0, None)
        how = "finished" if error is None or leaving else "crashed"
        message, lines = "", []
        if isinstance(error, Enough):
            how = "enough"
        elif how == "crashed":
            first = str(error).strip().splitlines()
            message = f"{kind.__name__}: {first[0] if first else 'no message'}"
            while trace is not None:
                code = trace.tb_frame.f_code
                if is_own_code(code.co_filename):
                    file = os.path.abspath(code.co_filename)
                    lines.insert(0, [file, trace.tb_lineno, code.co_name])
                trace = trace.tb_next
        self.write(
            "end", how=how, error=message, where=lines[:4],
            seconds=time.perf_counter() - self.started, recording=self.seconds,
        )  # fmt: skip
        self.file.close()

    def replace(self, owner: Any, name: str, new: Callable) -> None:
        self.undo.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, new)

    def wrap(
        self,
        owner: Any,
        name: str,
        *,
        before: Callable | None = None,
        after: Callable | None = None,
    ) -> None:
        """Call `before(*args)` and `after(result, *args)` around a function."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if before is not None:
                before(*args, **kwargs)
            result = original(*args, **kwargs)
            if after is not None:
                after(result, *args, **kwargs)
            return result

        self.replace(owner, name, wrapped)

    def unseen(self, original: Callable) -> Callable:
        """Tracing a model, as for TensorBoard's graph of it, is neither training nor evaluation."""

        @functools.wraps(original)
        def unrecorded(*args: Any, **kwargs: Any) -> Any:
            before, self.busy = self.busy, True
            try:
                return original(*args, **kwargs)
            finally:
                self.busy = before

        return unrecorded

    def write(self, kind: str, **fields: Any) -> None:
        self.file.write(json.dumps({"kind": kind, "step": self.step, **fields}) + "\n")
        self.file.flush()

    # Models and batches

    @counted
    def on_parameter(self, module: nn.Module, name: str, parameter: Any) -> None:
        if not self.is_built and parameter is not None:
            self.is_built = True
            self.write("built", where=where(), rng=random_state())

    def before_forward(self, module: nn.Module, args: Any) -> None:
        if threading.get_ident() != self.thread or self.in_backward:
            return
        self.depth += 1
        if self.depth == 1 and not self.busy:
            self.watch_scalars()
            self.begin(module, args)

    @counted
    def begin(self, module: nn.Module, args: Any) -> None:
        """The outermost call of a module that has parameters."""
        self.call = None
        if isinstance(module, torch.jit.ScriptModule) or next(module.parameters(), None) is None:
            return
        grad = torch.is_grad_enabled()
        # A wrapper keeps its own mode when what it wraps is asked for eval().
        training = any(m.training for m in module.modules() if next(m.children(), None) is None)
        if self.step >= self.steps and grad and training:
            raise Enough
        inner = getattr(module, "module", None)
        is_wrapped = isinstance(inner, nn.Module) and "Parallel" in type(module).__name__
        self.call = {
            "step": self.step,
            "module": type(module).__name__,
            "wrapped": is_wrapped,
            "grad": grad,
            "training": training,
            "rng": random_state(),
            "inputs": [fingerprint(t, rows=True) for _, t in tensors(args)],
            "leaves": [],
            "outputs": [],
            "where": where(),
        }
        root = inner if is_wrapped else module
        known = self.is_known(root)
        changed = not known or not grad
        self.call["_module"] = root
        self.call["_names"] = {id(m): name for name, m in root.named_modules()}
        if changed:
            self.call["state"] = self.state(root)

    def state(self, module: nn.Module) -> list[list[Any]]:
        """Name, fingerprint and kind of every parameter and buffer; not computed anew while no
        tensor of them was written to."""
        named = [(n, p, "parameter") for n, p in module.named_parameters()]
        named += [(n, b, "buffer") for n, b in module.named_buffers()]
        version = tuple((id(t), t.data_ptr(), _version(t)) for _, t, _ in named)
        if self.versions.get(id(module), (None,))[0] != version:
            state = [[n, {**fingerprint(t), "kind": k}] for n, t, k in named]
            self.versions[id(module)] = version, state
        return self.versions[id(module)][1]

    def after_forward(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if threading.get_ident() != self.thread or self.in_backward:
            return
        self.depth -= 1
        if self.call is not None and not self.busy:
            if self.depth == 0:
                self.finish(kwargs, output)
            elif next(module.children(), None) is None:
                self.leaf(module, output)
        elif self.depth == 0:
            self.call = None

    @counted
    def leaf(self, module: nn.Module, output: Any) -> None:
        first = next((t for _, t in tensors(output)), None)
        self.call["leaves"].append([
            self.call["_names"].get(id(module), "?"),
            type(module).__name__,
            module.training,
            None if first is None else checksum(first),
            None if first is None else str(first.dtype).removeprefix("torch."),
        ])  # fmt: skip

    @counted
    def finish(self, kwargs: Any, output: Any) -> None:
        call, self.call = self.call, None
        call["inputs"] += [fingerprint(t, rows=True) for _, t in tensors(kwargs)]
        found = [t for _, t in tensors(_plain_output(output))]
        call["outputs"] = [fingerprint(t) for t in found]
        self.keep("forward", call, found)

    def after_loss(self, name: str, result: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(result, Tensor) and len(args) + len(kwargs) >= 2:
            self.loss_call(name, result, *args, **kwargs)

    @counted
    def loss_call(self, name: str, result: Tensor, *args: Any, **kwargs: Any) -> None:
        target = args[1] if len(args) > 1 else kwargs.get("target")
        given = args[0] if args else kwargs.get("input")
        options = {k: v for k, v in kwargs.items() if isinstance(v, (bool, int, float, str))}
        options.pop("reduction", None)
        scores = plain(given).float()
        sums = scores.sum(1) if scores.dim() > 1 else scores.new_zeros(1)
        call = {
            "step": self.step,
            "name": name,
            "reduction": kwargs.get("reduction", "mean"),
            "options": options,
            "input": fingerprint(given),
            "probabilities": bool((scores.min() >= 0) & (sums - 1).abs().max().lt(1e-2)),
            "target": fingerprint(target, rows=True) if isinstance(target, Tensor) else None,
            "batch": len(given) if given.dim() else 1,
            "value": result.item() if result.numel() == 1 else None,
            "where": where(),
        }
        self.keep("loss", call, [result])

    def keep(self, kind: str, call: dict[str, Any], results: list[Tensor]) -> None:
        """Mark the graph of what a call gave, or write it down as evaluation if it has none."""
        nodes = [t.grad_fn for t in results if t.grad_fn is not None]
        self.serial += 1
        call.update(_kind=kind, _mark=self.serial, order=self.serial)
        if not nodes:
            self.evaluated(call)
            return
        for node in nodes:
            node.metadata.setdefault(MARK, []).append(self.serial)
        self.pending.append(call)

    def evaluated(self, call: dict[str, Any]) -> None:
        module = call.get("_module")
        if module is not None and "state" in call:
            # One number for all: of an evaluation it is asked only which weights it saw.
            call["state"] = [[n, f["hash"], f["shape"]] for n, f in call["state"]]
        self.write(f"evaluated {call['_kind']}", **_shown(call))

    def flush(self, everything: bool = False) -> None:
        """What led to no backward pass was evaluation, with gradients or without."""
        waiting = []
        for call in self.pending:
            is_old = call["step"] < self.step - 1 or not call.get("training", True)
            if everything or is_old:
                if not call.get("_used"):
                    self.evaluated(call)
            elif not call.get("_used"):
                waiting.append(call)
        self.pending = waiting

    # Gradients

    def around_backward(self, original: Callable) -> Callable:
        @functools.wraps(original)
        def backward(tensors_: Any, *args: Any, **kwargs: Any) -> None:
            outer = threading.get_ident() == self.thread and not self.in_backward
            begun = self.before_backward(tensors_) if outer and not self.busy else None
            self.in_backward = outer or self.in_backward
            try:
                original(tensors_, *args, **kwargs)
            finally:
                self.in_backward = self.in_backward and not outer
            if begun is not None:
                self.after_backward(begun)

        return backward

    @counted
    def before_backward(self, given: Any) -> dict[str, Any] | None:
        losses = [t for _, t in tensors(given)]
        marks = set()
        seen, todo = set(), [t.grad_fn for t in losses if t.grad_fn is not None]
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            marks.update(node.metadata.get(MARK, ()))
            todo += [n for n, _ in node.next_functions if n is not None]
        used = [call for call in self.pending if call["_mark"] in marks]
        for call in used:
            call["_used"] = True
        for call in used:
            module = call.get("_module")
            if module is not None and not self.is_known(module):
                self.models.append(module)
                self.write("model", module=call["module"], state=call["state"])
        leftover = [p.grad for _, p in self.parameters() if p.grad is not None]
        return {
            "micro": self.micro,
            "forwards": [_shown(c, state=False) for c in used if c["_kind"] == "forward"],
            "losses": [_shown(c) for c in used if c["_kind"] == "loss"],
            "loss": fingerprint(losses[0]) if losses else None,
            "leftover": _norm(leftover),
            "where": where(),
        }

    @counted
    def after_backward(self, begun: dict[str, Any]) -> None:
        grads = [[n, fingerprint(p.grad)] for n, p in self.parameters() if p.grad is not None]
        self.write("backward", **begun, gradients=grads)
        self.micro += 1

    def is_known(self, module: nn.Module) -> bool:
        """Whether all its parameters are those of a model on record, of which it may be a part."""
        known = {id(p) for _, p in self.parameters()}
        return all(id(p) in known for p in module.parameters())

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for i, model in enumerate(self.models):
            for name, parameter in model.named_parameters():
                yield (f"{i}.{name}" if i else name), parameter

    def buffers(self) -> Iterator[tuple[str, Tensor]]:
        for i, model in enumerate(self.models):
            for name, buffer in model.named_buffers():
                yield (f"{i}.{name}" if i else name), buffer

    @counted
    def after_clip(self, result: Any, parameters: Any, limit: Any, *_: Any, **__: Any) -> None:
        norm = float(result) if isinstance(result, Tensor) else None
        self.write("clip", limit=float(limit), norm=norm, micro=self.micro, where=where())

    @counted
    def after_unscale(self, _: Any, scaler: Any, *__: Any) -> None:
        if scaler.is_enabled():
            self.write("unscale", scale=scaler.get_scale(), where=where())

    # Optimizers

    @counted
    def after_optimizer(self, _: Any, optimizer: Optimizer, *__: Any, **___: Any) -> None:
        self.optimizers[id(optimizer)] = {
            "of": weakref.ref(optimizer),
            "number": len(self.optimizers),
            "made": where(),
        }

    @counted
    def after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        made = self.optimizers.get(id(optimizer), {"number": 0, "made": []})
        names = {id(p): name for name, p in self.parameters()}
        held = [p for group in optimizer.param_groups for p in group["params"]]
        in_some = {id(p) for p in held}
        for other in self.optimizers.values():
            if other["of"]() is not None:
                in_some |= {id(p) for g in other["of"]().param_groups for p in g["params"]}
        missing = [n for n, p in self.parameters() if p.requires_grad and id(p) not in in_some]
        named = [(names.get(id(p), f"?{i}"), p) for i, p in enumerate(held)]
        momenta: dict[str, list[Tensor]] = {}
        for state in optimizer.state.values():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    momenta.setdefault(key, []).append(value)
        self.write(
            "step",
            optimizer=type(optimizer).__name__,
            number=made["number"],
            made=made["made"],
            where=where(),
            groups=[_options(group) for group in optimizer.param_groups],
            missing=missing,
            foreign=sum(id(p) not in names for p in held),
            gradients=[[n, fingerprint(p.grad)] for n, p in named if p.grad is not None],
            weights=[[n, fingerprint(p)] for n, p in named],
            buffers=[[n, fingerprint(b)] for n, b in self.buffers()],
            momenta={key: _norm(values) for key, values in momenta.items()},
        )
        self.step, self.micro = self.step + 1, 0
        self.flush()

    # What is drawn, reported and saved

    def around_iter(self, original: Callable) -> Callable:
        @functools.wraps(original)
        def loader_iter(loader: DataLoader) -> Iterator:
            before = None if self.busy else random_state()
            iterator = original(loader)
            if before is not None:
                self.after_iter(loader, before)
            return iterator

        return loader_iter

    @counted
    def after_iter(self, loader: DataLoader, before: str) -> None:
        size = len(loader.dataset) if hasattr(loader.dataset, "__len__") else None
        self.write(
            "loader", size=size, batch_size=loader.batch_size, drew=random_state() != before,
            sampler=type(loader.sampler).__name__, where=where(),
        )  # fmt: skip

    @counted
    def after_seed(self, _: Any, seed: Any = None, *__: Any) -> None:
        self.write("seed", value=int(seed), built=self.is_built, where=where())

    def watch_scalars(self) -> None:
        """TensorBoard is slow to import, so it is wrapped when the program has done so."""
        writer = sys.modules.get("torch.utils.tensorboard.writer")
        if writer is not None and not hasattr(writer, MARK):
            setattr(writer, MARK, True)
            self.undo.callback(delattr, writer, MARK)
            self.wrap(writer.SummaryWriter, "add_scalar", before=self.before_scalar)

    @counted
    def before_scalar(self, _: Any, tag: str, value: Any, *__: Any, **___: Any) -> None:
        with contextlib.suppress(TypeError, ValueError):
            self.write(
                "number", tag=tag, value=float(torch.as_tensor(value).detach()), where=where()
            )

    @counted
    def before_save(self, value: Any, *_: Any, **__: Any) -> None:
        top = list(value) if isinstance(value, dict) else []
        found = [(n, t) for n, t in tensors(value) if not _is_momentum(n)]
        current = {checksum(t) for _, t in self.parameters()}
        saved = {checksum(t) for _, t in found}
        keys = [str(key) for key in top]
        optimizers = _holding(value, lambda v: v.keys() >= {"state", "param_groups"})
        self.write(
            "save",
            weights="current" if current and current <= saved else "others" if found else "none",
            optimizer=any(o["state"] for o in optimizers),
            schedule=bool(_holding(value, lambda v: "last_epoch" in v)),
            hash=f"{zlib.crc32(repr(sorted(checksum(t) for _, t in found)).encode()):08x}",
            tensors=len(found),
            keys=keys if len(keys) <= 40 and len(found) != len(keys) else [],
            where=where(),
        )  # fmt: skip


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _norm(values: list[Tensor]) -> float:
    return sum(float(torch.linalg.vector_norm(plain(v).double())) ** 2 for v in values) ** 0.5


def _is_momentum(name: str) -> bool:
    return "optimizer" in name and "/state/" in name


def _plain_output(output: Any) -> Any:
    """Also what libraries wrap into dataclasses that behave as dicts."""
    return dict(output) if hasattr(output, "keys") and not isinstance(output, dict) else output


def _shown(call: dict[str, Any], state: bool = True) -> dict[str, Any]:
    hidden = set() if state else {"state"}
    return {k: v for k, v in call.items() if not k.startswith("_") and k not in hidden}


def _options(group: dict[str, Any]) -> dict[str, Any]:
    """The settings of a parameter group as plain values."""
    options: dict[str, Any] = {"parameters": len(group["params"])}
    for key, value in group.items():
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, (bool, int, float, str, tuple, list)) and key != "params":
            options[key] = list(value) if isinstance(value, tuple) else value
    return options


def _holding(value: Any, is_wanted: Callable[[Any], bool], depth: int = 0) -> list[Any]:
    """The dicts in nested containers that are what is wanted."""
    if isinstance(value, dict) and is_wanted(value):
        return [value]
    if depth > 4 or not isinstance(value, (dict, list, tuple)):
        return []
    parts = value.values() if isinstance(value, dict) else value
    return [found for part in parts for found in _holding(part, is_wanted, depth + 1)]
