"""One trainer for every network of this package: shuffled batches, Adam, a moving average of the
weights, checkpoints.

On a CPU the same seed gives the same weights, also where a training was stopped and taken up again.
"""

from __future__ import annotations

import json
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal, TypeAlias, get_args

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from mbo_gym.files import store
from mbo_gym.nn.ema import EMA
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least

__all__ = ["CHECKPOINT", "Compile", "Decay", "Loss", "Precision", "TrainingConfig", "train"]

Loss: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""The mean loss of rows (B,), whose noise it draws from a generator; both on the training's
device."""
Decay: TypeAlias = Literal["cosine", "none"]
Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
Compile: TypeAlias = Literal["auto", "on", "off"]

CHECKPOINT = "training.safetensors"
"""File name of a training's last checkpoint."""


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of the training of a network.

    Args:
        steps: Gradient updates. Counted in steps, not epochs, so that the time does not grow with
            the data.
        batch_size: Rows an update; it may be more than there are, then some come more than once,
            with other noise.
        learning_rate: Adam's, at its highest.
        warm_up: Updates in which the learning rate rises from 0 along a line.
        decay: How it falls after them: to 0 along a ``cosine``, or not at all (``none``).
        clip: Longest gradient, by its norm over all weights; longer ones are scaled down. 0 or None
            for no limit.
        ema: Decay of the moving average of the weights, in [0, 1), shorter in the first updates; 0
            for the last weights as they are.
        precision: Of products in the loss: ``float32``, or ``bfloat16`` (autocast; weights, their
            average and Adam stay in float32); ``auto`` is bfloat16 on a GPU.
        compile: Whether the module goes through `torch.compile` for the training: ``on``, ``off``,
            or ``auto`` for on a GPU only. It takes about a minute at the start.
    """

    steps: int = 3000
    batch_size: int = 256
    learning_rate: float = 1e-3
    warm_up: int = 100
    decay: Decay = "cosine"
    clip: float | None = 1.0
    ema: float = 0.999
    precision: Precision = "auto"
    compile: Compile = "auto"

    def __post_init__(self) -> None:
        require_at_least(self, 1, "steps", "batch_size")
        require_at_least(self, 0, "learning_rate", "warm_up", "clip", "ema")
        if self.ema >= 1:
            raise ValueError(f"ema is a decay in [0, 1), got {self.ema}")
        for name, options in (("decay", Decay), ("precision", Precision), ("compile", Compile)):
            if getattr(self, name) not in get_args(options):
                raise ValueError(
                    f"{name} must be one of {get_args(options)}, got {getattr(self, name)!r}"
                )

    def rate(self, step: int) -> float:
        """Return the learning rate of an update; `step` counts from 0."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        if self.decay == "none":
            return self.learning_rate
        done = (step - self.warm_up) / (self.steps - self.warm_up)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def train(
    module: nn.Module,
    loss: Loss,
    n_rows: int,
    config: TrainingConfig,
    *,
    seed: int,
    device: str | torch.device,
    progress: Progress,
    stage: str = "diffusion",
    checkpoints: Path | None = None,
    checkpoint_every: int = 1000,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Train a module in place; in the end it holds the averaged weights, in evaluation mode,
    without gradients.

    No global random state changes. With `checkpoints`, Ctrl-C waits for the update under way and
    its checkpoint.

    Args:
        module: All its parameters are trained; it is moved to the device.
        loss: Mean loss of rows; it calls the module.
        n_rows: Number of rows that there are. Each is drawn once before any is drawn again.
        config: The settings.
        seed: Of batches, the loss's noise, and dropout. The module's first weights are the
            caller's.
        device: Where to train.
        progress: Gets a bar and, about 50 times, the mean ``loss`` since the last time,
            ``gradient_norm`` (before it is clipped) and ``learning_rate``.
        stage: Name of this training in the bar, the metrics, errors, and the checkpoint.
        checkpoints: A folder for this training's last checkpoint; where there is one, the training
            goes on from it.
        checkpoint_every: Updates from one checkpoint to the next.
        facts: What else decides the outcome, as JSON values, e.g. the settings behind `loss` and a
            hash of its data; a checkpoint with others is refused.

    Raises:
        ValueError: `checkpoints` holds the checkpoint of another training, or a damaged one.
        FloatingPointError: The loss or its gradient became infinite or NaN.
    """
    if n_rows < 1 or checkpoint_every < 1:
        raise ValueError(
            f"n_rows and checkpoint_every must be at least 1, got {n_rows} and {checkpoint_every}"
        )
    device = torch.device(device)
    module.to(device).train().requires_grad_(True)
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        _compiled(module, config, device),
    ):
        state = _State(module, n_rows, config, seed, device)
        if checkpoints is None:
            _run(state, loss, 0, stage, progress)
        else:
            file = _Checkpoint(checkpoints, state, stage, seed, facts or {}, checkpoint_every)
            start = file.resume()
            with _interrupts_held() as interrupts:
                _run(state, loss, start, stage, progress, file, interrupts)
        state.average.copy_to_module()
    module.eval().requires_grad_(False)


def _run(
    state: _State,
    loss: Loss,
    start: int,
    stage: str,
    progress: Progress,
    file: _Checkpoint | None = None,
    interrupts: Sequence[int] = (),
) -> None:
    """Make the updates from `start` on, until the last or an interrupt."""
    config, losses = state.config, []
    every = max(1, config.steps // 50)
    for step in progress.track(range(start, config.steps), f"training {stage}"):
        value, norm = state.update(loss, step)
        losses.append(value)
        interrupted, last = bool(interrupts), step == config.steps - 1
        save = file is not None and (interrupted or last or (step + 1) % file.every == 0)
        if save or last or step % every == 0:  # waits for the device, so not at every step
            shown = {"loss": float(torch.stack(losses).mean()), "gradient_norm": float(norm)}
            _check_finite(stage, step, shown)
            progress.metrics(stage, step, **shown, learning_rate=config.rate(step))
            losses = []
        if file is not None and save:
            file.write(step + 1)
        if interrupted:
            break


class _State:
    """All that an update changes."""

    def __init__(
        self,
        module: nn.Module,
        n_rows: int,
        config: TrainingConfig,
        seed: int,
        device: torch.device,
    ) -> None:
        self.module, self.n_rows, self.config, self.device = module, n_rows, config, device
        self.parameters = list(module.parameters())
        self.adam = torch.optim.Adam(self.parameters, lr=config.learning_rate, fused=True)
        self.average = EMA(module, config.ema)
        self.pool = torch.empty(
            0, dtype=torch.int64, device=device
        )  # rows that this epoch has not seen
        self.generator = torch.Generator(device).manual_seed(seed)
        self.dropout = _global_generator(device)
        self.dropout.manual_seed(
            int(torch.randint(2**62, (), generator=self.generator, device=device))
        )
        self.low = config.precision == "bfloat16" or (
            config.precision == "auto" and device.type == "cuda"
        )

    def update(self, loss: Loss, step: int) -> tuple[Tensor, Tensor]:
        """Make one update; return its loss and the gradient's norm."""
        for group in self.adam.param_groups:
            group["lr"] = self.config.rate(step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.low):
            value = loss(self._rows(), self.generator)
        self.adam.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip or math.inf)
        self.adam.step()
        self.average.update()
        return value.detach(), norm

    def _rows(self) -> Tensor:
        size = self.config.batch_size
        while len(self.pool) < size:
            epoch = torch.randperm(self.n_rows, generator=self.generator, device=self.device)
            self.pool = torch.cat([self.pool, epoch])
        rows, self.pool = self.pool[:size], self.pool[size:]
        return rows

    def tensors(self) -> dict[str, Tensor]:
        """Return everything but the number of updates, by name."""
        found = {
            "pool": self.pool,
            "generator": self.generator.get_state(),
            "dropout": self.dropout.get_state(),
        }
        found |= {f"weights.{name}": value for name, value in self.module.state_dict().items()}
        found |= {f"average.{name}": value for name, value in self.average.weights.items()}
        for i, moments in self.adam.state_dict()["state"].items():
            found |= {f"adam.{i}.{name}": value for name, value in moments.items()}
        return {name: value.detach().cpu().contiguous() for name, value in found.items()}

    def load(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Take over what `tensors` gave after `step` updates."""
        self.pool = tensors["pool"].to(self.device)
        self.generator.set_state(tensors["generator"])
        self.dropout.set_state(tensors["dropout"])
        self.module.load_state_dict(_below(tensors, "weights"))
        for name, value in _below(tensors, "average").items():
            self.average.weights[name].copy_(value)
        self.average.n_updates = step
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, "adam").items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = value
        self.adam.load_state_dict(
            {"state": moments, "param_groups": self.adam.state_dict()["param_groups"]}
        )


class _Checkpoint:
    """One safetensors file with a training's state; its header holds, as JSON, the step and what
    decides the outcome.

    A new checkpoint takes the place of the last one at once, so that there is always a whole one.
    """

    def __init__(
        self,
        folder: Path,
        state: _State,
        stage: str,
        seed: int,
        facts: Mapping[str, Any],
        every: int,
    ) -> None:
        self.path, self.every, self._state = folder / CHECKPOINT, every, state
        shapes = {name: list(value.shape) for name, value in state.module.state_dict().items()}
        own = {
            "stage": stage,
            "seed": seed,
            "n_rows": state.n_rows,
            "device": state.device.type,
            "weights": shapes,
        }
        self._facts: dict[str, Any] = json.loads(
            json.dumps({**own, **asdict(state.config), **facts})
        )

    def write(self, step: int) -> None:
        """Write the state after `step` updates."""
        header = {
            "step": step,
            "versions": {"torch": str(torch.__version__)},
            "training": self._facts,
        }
        tensors, metadata = self._state.tensors(), {"json": json.dumps(header)}
        store.write_atomic(
            self.path, lambda partial: safetensors.torch.save_file(tensors, partial, metadata)
        )

    def resume(self) -> int:
        """Load the checkpoint, if there is one, into the state; return its number of updates, else
        0."""
        if not self.path.exists():
            return 0
        try:
            with safetensors.safe_open(self.path, framework="pt") as file:
                header = json.loads(file.metadata()["json"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (safetensors.SafetensorError, TypeError, KeyError) as error:
            raise ValueError(
                f"{self.path} is damaged or no checkpoint: {error}; remove it to train anew"
            ) from error
        if differences := _differences(header["training"], self._facts):
            raise ValueError(
                f"{self.path} holds the checkpoint of another training: {differences}; "
                "choose another folder for checkpoints, or remove this one to train anew"
            )
        self._state.load(tensors, header["step"])
        return int(header["step"])


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any], within: str = "") -> str:
    """Name what differs between two checkpoints' facts, with both values; empty where nothing
    does."""
    found = []
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        before, now = theirs.get(key, "nothing"), ours.get(key, "nothing")
        if isinstance(before, dict) and isinstance(now, dict):
            if inner := _differences(before, now, f"{within}{key}."):
                found.append(inner)
        elif before != now:
            found.append(f"{within}{key} is {before} there and {now} here")
    return ", ".join(found)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name[len(prefix) + 1 :]: value
        for name, value in tensors.items()
        if name.startswith(f"{prefix}.")
    }


def _check_finite(stage: str, step: int, shown: Mapping[str, float]) -> None:
    if not all(math.isfinite(value) for value in shown.values()):
        values = ", ".join(f"{name} {value}" for name, value in shown.items())
        raise FloatingPointError(
            f"training {stage} failed: {values} at step {step} or since the last metrics before it; "
            "look for values in the data that are not finite or very large, or lower learning_rate, set clip, or "
            "choose precision='float32'"
        )


def _global_generator(device: torch.device) -> torch.Generator:
    """Return torch's own generator of a device, from which dropout draws."""
    if device.type == "cuda":
        return torch.cuda.default_generators[
            torch.cuda.current_device() if device.index is None else device.index
        ]
    return torch.default_generator


@contextmanager
def _compiled(module: nn.Module, config: TrainingConfig, device: torch.device) -> Iterator[None]:
    """Compile a module in place, and undo it afterwards: other batches in other modes would compile
    it again."""
    if config.compile == "on" or (config.compile == "auto" and device.type == "cuda"):
        before = module._compiled_call_impl
        module.compile()
        try:
            yield
        finally:
            module._compiled_call_impl = before
    else:
        yield


@contextmanager
def _interrupts_held() -> Iterator[list[int]]:
    """Collect a signal that would raise KeyboardInterrupt, so that it cuts no update in two, and
    raise at the end.

    A second one raises at once.
    """
    caught: list[int] = []
    held = [number for number in (signal.SIGINT, signal.SIGTERM) if _raises_interrupt(number)]

    def hold(number: int, frame: FrameType | None) -> None:
        if caught:
            signal.default_int_handler(number, frame)
        caught.append(number)

    for number in held:
        signal.signal(number, hold)
    try:
        yield caught
    finally:
        for number in held:
            signal.signal(number, signal.default_int_handler)
    if caught:
        raise KeyboardInterrupt


def _raises_interrupt(number: signal.Signals) -> bool:
    """Tell whether a signal raises KeyboardInterrupt here; only the main thread gets any, and may
    change handlers."""
    main = threading.current_thread() is threading.main_thread()
    return main and signal.getsignal(number) is signal.default_int_handler
