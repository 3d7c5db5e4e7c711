"""Encoders: maps between designs x and features z in R^d, fitted once on the visible designs, then fixed.

All are invertible but the learned one (`mbo_gym.encoders.vae`). An encoder works on tensors of any device
(`encode_tensor`, `decode_tensor`); `encode` and `decode` are the same two maps for numpy arrays. Decoding always lands
inside the design space, whatever the features are.
"""

from __future__ import annotations

from typing import Any, Protocol

from mbo_gym.encoders.base import Encoder, require_categorical
from mbo_gym.encoders.letters import Logits, OneHot
from mbo_gym.encoders.scaling import Chain, MinMax, ZScore
from mbo_gym.errors import UnknownId
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress

__all__ = ["ENCODERS", "make_encoder"]


class _Maker(Protocol):
    def __call__(self, problem: OfflineProblem, **training: Any) -> Encoder: ...


def _either(scaling: type[ZScore] | type[MinMax]) -> _Maker:
    def make(problem: OfflineProblem, **_: Any) -> Encoder:
        if isinstance(problem.space, CategoricalSpace):
            return Chain(Logits(problem.space), problem.dataset.x, scaling)
        return scaling(problem.space, problem.dataset.x)

    return make


def _vae(problem: OfflineProblem, **training: Any) -> Encoder:
    from mbo_gym.encoders.vae import cached_vae_encoder  # it imports this module

    return cached_vae_encoder(problem, **training)


ENCODERS: dict[str, _Maker] = {
    "z_score": _either(ZScore),
    "min_max": _either(MinMax),
    "logits": lambda problem, **_: Logits(require_categorical(problem)),
    "one_hot": lambda problem, **_: OneHot(require_categorical(problem)),
    "z_score_one_hot": lambda problem, **_: Chain(OneHot(require_categorical(problem)), problem.dataset.x),
    "vae": _vae,
}


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
        problem: What a method may know.
        name: ``z_score`` (the default of every method; on categorical spaces z-scored logits), ``min_max``, or, on
            categorical spaces only, ``logits``, ``one_hot``, ``z_score_one_hot`` or ``vae``. A ``vae`` is trained the
            first time, on the CPU (a minute for 8 sites, more for longer designs), and read from the cache afterwards.
        seed: Of a learned encoder. Environments and exports use 0; an encoder of another seed has other features and no
            `name`, so that nothing made with it can claim to belong to theirs.
        device: Where a learned encoder computes what it is given as numpy arrays.
        progress: Is told of a learned encoder's training.

    Raises:
        UnknownId: No encoder has that name.
        ValueError: The encoder needs a categorical space and the problem's is continuous.
    """
    if name not in ENCODERS:
        raise UnknownId("encoder", name, ENCODERS)
    encoder = ENCODERS[name](problem, seed=seed, device=device, progress=progress)
    encoder.name = name if name != "vae" or seed == 0 else ""
    return encoder
