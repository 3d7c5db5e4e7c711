"""The trainer of every network of this package: `train`, the loop for a loss of rows.

A training that is more than a loss of rows writes its own loop around a `Trainer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from mbo_gym.nn.checkpoints import (
    CHECKPOINT,
    Checkpoint,
    KeptTraining,
    interrupts_held,
    next_folder,
)
from mbo_gym.nn.rows import RowPool, permuted
from mbo_gym.nn.trainer import Compile, Decay, Precision, Trainer, TrainingConfig
from mbo_gym.progress.protocol import Progress

__all__ = [
    "CHECKPOINT",
    "Compile",
    "Decay",
    "Loss",
    "Precision",
    "Trainer",
    "TrainingConfig",
    "train",
]

Loss: TypeAlias = Callable[[Tensor, torch.Generator], Tensor | tuple[Tensor, Mapping[str, Tensor]]]
"""The mean loss () of rows, whose noise it draws from a generator; both on the training's device.
With it, where other metrics are to be shown, these () by name."""


def train(
    module: nn.Module,
    loss: Loss,
    rows: int | RowPool,
    config: TrainingConfig,
    *,
    seed: int | torch.Generator,
    device: str | torch.device,
    progress: Progress | None,
    stage: str = "diffusion",
    description: str = "",
    checkpoints: Path | None = None,
    checkpoint_every: int = 1000,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Train a module in place; in the end it holds the averaged weights, in evaluation mode,
    without gradients.

    On a CPU the same seed gives the same weights, also where a training was stopped and taken up
    again. No global random state changes. With `checkpoints`, Ctrl-C waits for the update under way
    and its checkpoint.

    Diffusion models, surrogates and VAEs are trained by it. A training with more than one network
    (MINs: a generator and its critic) or with steps of its own between updates (COMs' climb, a
    value network's copies) is a loop around `Trainer`, which makes the same updates.

    Args:
        module: All its parameters are trained; it is moved to the device.
        loss: Loss of rows; it calls the module and changes nothing.
        rows: Number of rows, each of which is drawn once before any is drawn again; or a pool of
            rows in another order.
        config: Settings. `batch_size` is that of a number of rows; a pool has its own.
        seed: Seed of batches, of the loss's noise, and of dropout; or the generator of batches and
            noise, for modules without dropout. The module's first weights are the caller's.
        device: Device to train on.
        progress: Gets a bar and, about 50 times, the metrics: the mean ``loss`` since the last
            time, ``gradient_norm`` (before it is clipped) and ``learning_rate``, or what the loss
            returns.
        stage: Name of this training in the bar, the metrics, errors, and the checkpoint.
        description: Text of the bar; empty for ``training`` and the stage.
        checkpoints: Folder of this training's last checkpoint; where there is one, the training
            goes on from it.
        checkpoint_every: Updates from one checkpoint to the next.
        facts: What else decides the outcome, as JSON values, e.g. the settings behind `loss` and a
            hash of its data; a checkpoint with others is refused.

    Raises:
        ValueError: `checkpoints` holds the checkpoint of another training, or a damaged one.
        FloatingPointError: The loss, which came without metrics, or its gradient became infinite or
            NaN.
    """
    if rows == 0 or checkpoint_every < 1:
        raise ValueError(
            f"n_rows and checkpoint_every must be at least 1, got {rows} and {checkpoint_every}"
        )
    if checkpoints is not None and not (isinstance(rows, int) and isinstance(seed, int)):
        raise ValueError(
            "a training with checkpoints makes its rows and random numbers anew. Pass rows and "
            f"seed as whole numbers, got {type(rows).__name__} and {type(seed).__name__}"
        )
    device = torch.device(device)
    module.to(device)
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked), _compiled(module, config, device):
        trainer = Trainer(module, config, stage=stage, description=description, progress=progress)
        pool = rows
        if isinstance(pool, int):
            pool = RowPool(permuted(pool), config.batch_size, keep_rest=True)
        generators = _generators(seed, device)
        generator = generators["generator"]
        if checkpoints is None:
            _run(trainer, loss, pool, generator, device, kept=_kept(trainer, pool, generators))
        else:
            own = {"seed": seed, "n_rows": rows, "device": device.type}
            own |= facts or {}
            file = Checkpoint(checkpoints, trainer, pool, generators, own, checkpoint_every)
            file.resume()
            _run(trainer, loss, pool, generator, device, file)
        trainer.finish()


def _run(
    trainer: Trainer,
    loss: Loss,
    rows: RowPool,
    generator: torch.Generator,
    device: torch.device,
    file: Checkpoint | None = None,
    kept: KeptTraining | None = None,
) -> None:
    """Make the updates that are left, until the last or an interrupt."""
    config = trainer.config
    low = config.precision == "bfloat16" or (config.precision == "auto" and device.type == "cuda")

    def next_loss() -> tuple[Tensor, Mapping[str, Tensor]]:
        batch = rows.draw(generator)
        with torch.autocast(device.type, torch.bfloat16) if low else nullcontext():
            value = loss(batch, generator)
        return (value, {}) if isinstance(value, Tensor) else (value[0], value[1])

    if kept is not None:
        kept.resume(lambda: next_loss()[0])
    held: AbstractContextManager[list[int]] = nullcontext([]) if file is None else interrupts_held()
    with held as interrupts:
        for step in trainer.steps():
            value, shown = next_loss()
            trainer.update(value, **shown)
            if kept is not None:
                kept.updated(value)
            if file is None:
                continue
            interrupted = bool(interrupts)
            if interrupted or step == config.steps - 1 or (step + 1) % file.every == 0:
                trainer.report()
                file.write()
            if interrupted:
                break


def _kept(
    trainer: Trainer, rows: RowPool, generators: Mapping[str, torch.Generator]
) -> KeptTraining | None:
    """Return the checkpoint of this training, where the block around it keeps trainings."""
    found = next_folder()
    if found is None:
        return None
    folder, pace = found
    return KeptTraining(folder, pace, trainer, rows, generators)


def _generators(seed: int | torch.Generator, device: torch.device) -> dict[str, torch.Generator]:
    """Return the generator of batches and noise, and, for a seed, torch's own, from which dropout
    draws."""
    if isinstance(seed, torch.Generator):
        return {"generator": seed}
    generator = torch.Generator(device).manual_seed(seed)
    dropout = _global_generator(device)
    dropout.manual_seed(int(torch.randint(2**62, (), generator=generator, device=device)))
    return {"generator": generator, "dropout": dropout}


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
