"""Settings of a training, and the update that every training makes: Adam on a schedule, clipping,
a moving average of the weights, metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from mbo_gym.nn.ema import EMA
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import require_at_least

__all__ = ["Compile", "Decay", "Precision", "Trainer", "TrainingConfig"]

Decay: TypeAlias = Literal["cosine", "none", "annealed"]
Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
Compile: TypeAlias = Literal["auto", "on", "off"]

_N_METRICS = 50


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of the training of a network.

    Args:
        steps: Gradient updates. Counted in steps, not epochs, so that the time does not grow with
            the data.
        batch_size: Rows an update; it may be more than there are, then some come more than once,
            with other noise.
        learning_rate: Adam's learning rate, at its highest.
        warm_up: Updates in which the learning rate rises from 0 along a line.
        decay: Schedule of the learning rate after them: down to 0 along a ``cosine``, or constant
            (``none``). ``annealed`` is the same cosine by the recursion of torch's
            CosineAnnealingLR, which rounds differently; the surrogates and VAEs keep to it so that
            a seed gives the same weights as before.
        clip: Longest gradient, by its norm over all weights; longer ones are scaled down. 0 or None
            for no limit.
        ema: Decay of the moving average of the weights, in [0, 1), shorter in the first updates; 0
            for the last weights as they are.
        precision: Precision of products in the loss: ``float32``, or ``bfloat16`` (autocast;
            weights, their average and Adam stay in float32); ``auto`` is bfloat16 on a GPU.
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

    @classmethod
    def plain(
        cls,
        steps: int,
        batch_size: int,
        learning_rate: float,
        *,
        decay: Decay = "annealed",
        clip: float | None = None,
    ) -> TrainingConfig:
        """Return settings without warm-up, moving average, low precision and compilation."""
        return cls(
            steps,
            batch_size,
            learning_rate,
            warm_up=0,
            decay=decay,
            clip=clip,
            ema=0.0,
            precision="float32",
            compile="off",
        )

    def rate(self, step: int) -> float:
        """Return the learning rate of an update; `step` counts from 0."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        if self.decay == "none":
            return self.learning_rate
        if self.decay == "annealed":
            return _annealed(self.learning_rate, step - self.warm_up, self.steps - self.warm_up)
        done = (step - self.warm_up) / (self.steps - self.warm_up)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def rates(self, start: int = 0) -> Iterator[float]:
        """Yield the learning rates of all updates from `start` on, and then the last one."""
        rate = self.rate(start)
        for step in range(start, self.steps):
            if self.decay == "annealed" and step > max(start, self.warm_up):
                rate *= _step_down(step - self.warm_up, self.steps - self.warm_up)
            else:
                rate = self.rate(step)
            yield rate
        while True:
            yield rate


class Trainer:
    """Updates of a module by Adam, as a `TrainingConfig` says; the loop is the caller's.

    `mbo_gym.nn.training.train` is the loop for a loss of rows. Methods whose training is more than
    that write the loop themselves:

        trainer = Trainer(network, config, stage="surrogate", progress=progress)
        for step in trainer.steps():
            loss = ...
            trainer.update(loss, loss=loss)
        trainer.finish()

    Two networks that are trained in turn (a generator and its critic, a representation and its
    discriminator) have a trainer each; one of them runs `steps`, the other only gets `update`. A
    value network copies its target inside the loop, by `step`.

    Args:
        module: Module that is trained, on its device; it goes into training mode.
        config: Settings; `precision` and `compile` are `train`'s.
        stage: Name of this training in metrics and errors.
        description: Text of the progress bar; empty for ``training`` and the stage.
        progress: Gets the bar and about 50 times the metrics; None to show nothing.
        betas: Decays of Adam's moments.

    Attributes:
        config: The settings.
        n_updates: Updates made.
        shown: Metrics shown so far: step, and numbers by name.
    """

    def __init__(
        self,
        module: nn.Module,
        config: TrainingConfig,
        *,
        stage: str,
        description: str = "",
        progress: Progress | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self.module = module.train().requires_grad_(True)
        self.config = config
        self.stage = stage
        self.progress = progress or NullProgress()
        self.parameters = list(module.parameters())
        self.adam = torch.optim.Adam(
            self.parameters, lr=config.learning_rate, betas=betas, fused=True
        )
        self.average = EMA(module, config.ema) if config.ema else None
        self.n_updates = 0
        self.shown: list[tuple[int, dict[str, float]]] = []
        self._description = description or f"training {stage}"
        self._every = max(1, config.steps // _N_METRICS)
        self._rates = config.rates()
        self._losses: list[Tensor] = []
        self._norm = torch.zeros(())

    def steps(self) -> Iterator[int]:
        """Yield the number of each update still to be made, and show how far the training is."""
        yield from self.progress.track(range(self.n_updates, self.config.steps), self._description)

    def update(self, loss: Tensor, /, **shown: Tensor) -> None:
        """Make one update down a loss ().

        Args:
            loss: Loss, whose gradient is taken.
            **shown: Numbers () to show as metrics, by name. Without any, the metrics are the mean
                ``loss`` since the last time, ``gradient_norm`` (before it is clipped) and
                ``learning_rate``.

        Raises:
            FloatingPointError: Nothing is given to show, and the loss or its gradient became
                infinite or NaN.
        """
        step = self.n_updates
        for group in self.adam.param_groups:
            group["lr"] = next(self._rates)
        self.adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip or not shown:
            self._norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip or math.inf)
        self.adam.step()
        if self.average is not None:
            self.average.update()
        self.n_updates += 1
        if not shown:
            self._losses.append(loss.detach())
        if step % self._every == 0 or step == self.config.steps - 1:  # waits for the device
            if shown:
                numbers = {name: float(value.detach()) for name, value in shown.items()}
                self._show(step, numbers)
            else:
                self.report()

    def report(self) -> None:
        """Show loss, gradient and learning rate since the last time, where there were updates."""
        if not self._losses:
            return
        step = self.n_updates - 1
        loss = float(torch.stack(self._losses).mean())
        shown = {"loss": loss, "gradient_norm": float(self._norm)}
        self._losses = []
        _check_finite(self.stage, step, shown)
        self._show(step, {**shown, "learning_rate": self.config.rate(step)})

    def _show(self, step: int, numbers: dict[str, float]) -> None:
        self.shown.append((step, numbers))
        self.progress.metrics(self.stage, step, **numbers)

    def unshown(self) -> dict[str, Tensor]:
        """Return what the next metrics will be made of, by name."""
        losses = {"losses": torch.stack(self._losses)} if self._losses else {}
        return {**losses, "norm": self._norm}

    def show_again(
        self, shown: Iterable[tuple[int, dict[str, float]]], unshown: Mapping[str, Tensor]
    ) -> None:
        """Show the metrics of a training that goes on, and take over what `unshown` returned."""
        for step, numbers in shown:
            self._show(step, numbers)
        self._losses = list(unshown["losses"].unbind()) if "losses" in unshown else []
        self._norm = unshown["norm"]

    def finish(self) -> None:
        """Leave the averaged weights in the module, in evaluation mode and without gradients."""
        if self.average is not None:
            self.average.copy_to_module()
        self.module.eval().requires_grad_(False)

    def resume(self, n_updates: int) -> None:
        """Go on after a number of updates, whose weights and moments are there already."""
        self.n_updates = n_updates
        self._rates = self.config.rates(n_updates)
        if self.average is not None:
            self.average.n_updates = n_updates


def _step_down(step: int, steps: int) -> float:
    """Return the share of the learning rate that is left from one update to the next."""
    before = 1 + math.cos(math.pi * (step - 1) / steps)
    return (1 + math.cos(math.pi * step / steps)) / before


def _annealed(rate: float, step: int, steps: int) -> float:
    for i in range(1, step + 1):
        rate *= _step_down(i, steps)
    return rate


def _check_finite(stage: str, step: int, shown: Mapping[str, float]) -> None:
    if not all(math.isfinite(value) for value in shown.values()):
        values = ", ".join(f"{name} {value}" for name, value in shown.items())
        raise FloatingPointError(
            f"training {stage} failed: {values} at step {step} or since the last metrics before "
            "it; look for values in the data that are not finite or very large, or lower "
            "learning_rate, set clip, or choose precision='float32'"
        )
