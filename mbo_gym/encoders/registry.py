"""Encoders by name: registered as strings, fitted on a problem on use.

All are invertible but the learned one (`mbo_gym.encoders.vae`). An encoder works on tensors of any
device (`encode_tensor`, `decode_tensor`); `encode` and `decode` are the same two maps for numpy
arrays. Decoding always lands inside the design space, whatever the features are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mbo_gym.registry import Registry

if TYPE_CHECKING:
    from mbo_gym.encoders.base import Encoder
    from mbo_gym.problem.task import OfflineProblem
    from mbo_gym.progress.protocol import Progress

__all__ = ["ENCODERS", "list_encoders", "make_encoder", "register_encoder"]


ENCODERS = Registry("encoder", table="ENCODERS")
"""Every encoder by name: a function of a problem, `seed`, `device` and `progress` that returns the
fitted encoder."""

for _name, _entry_point in {
    "z_score": "mbo_gym.encoders.scaling:z_score",
    "min_max": "mbo_gym.encoders.scaling:min_max",
    "logits": "mbo_gym.encoders.letters:logits",
    "one_hot": "mbo_gym.encoders.letters:one_hot",
    "z_score_one_hot": "mbo_gym.encoders.scaling:z_score_one_hot",
    "vae": "mbo_gym.encoders.vae:cached_vae_encoder",
}.items():
    ENCODERS.register(_name, _entry_point)


def list_encoders() -> list[str]:
    """Return the names of all encoders, those of other packages too, sorted."""
    return list(ENCODERS)


def register_encoder(name: str, entry_point: str | Callable[..., Encoder]) -> None:
    """Add an encoder in this process.

    Args:
        name: Name of the encoder.
        entry_point: Function of a problem, `seed`, `device` and `progress` that returns the fitted
            encoder, or ``"module:function"`` to import it on use.

    Raises:
        ValueError: The name is taken.
    """
    ENCODERS.register(name, entry_point)


def make_encoder(
    problem: OfflineProblem,
    name: str = "z_score",
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Encoder:
    """Fit the named encoder on a problem's visible designs.

    Args:
        problem: Problem whose visible designs it is fitted on.
        name: ``z_score`` (the default of every method; on categorical spaces z-scored logits),
            ``min_max``, or, on categorical spaces only, ``logits``, ``one_hot``,
            ``z_score_one_hot`` or ``vae``. A ``vae`` is trained the first time, on the CPU (a
            minute for 8 sites, more for longer designs), and read from the cache afterwards.
        seed: Seed of a learned encoder. Environments and exports use 0. An encoder of another seed
            has other features and no `name`, so it is never taken for theirs.
        device: Device of a learned encoder for numpy arrays.
        progress: Observer of a learned encoder's training.

    Raises:
        UnknownId: No encoder has that name.
        ValueError: The encoder needs a categorical space and the problem's is continuous.
    """
    make = ENCODERS.spec(name).load()
    encoder: Encoder = make(problem, seed=seed, device=device, progress=progress)
    encoder.name = name if name != "vae" or seed == 0 else ""
    return encoder
