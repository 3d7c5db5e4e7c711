"""Checkpoints of offline-RL training: networks, optimisers and the state of every generator.

A resumed training ends with the same weights as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.rl.data import Episodes
from agents.rl.learner_config import OfflineConfig
from mbo_gym.errors import DamagedFile
from mbo_gym.files import store
from mbo_gym.files.weights import load_weights, save_weights

__all__ = ["Checkpoints"]

_NOT_PART_OF_IT = ("train_steps", "checkpoints", "tensorboard")


class Checkpoints:
    """Folder of one training: ``step_<n>.d3`` for `d3rlpy.load_learnable`, ``step_<n>.json``.

    Files are written atomically; the JSON file has the sha256 of the others and of itself. Only the
    last checkpoint is kept; snapshots of the policy,
    ``policy_<n>.safetensors``, all stay.

    Args:
        folder: Folder of the checkpoints.
        config: Settings of the learner.
        seed: Seed of the training.
        episodes: Data set of the training.
        strict: Whether a checkpoint of another training is refused; else it is ignored.
    """

    def __init__(
        self,
        folder: str,
        config: OfflineConfig,
        seed: int,
        episodes: Episodes,
        *,
        strict: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self._strict = strict
        settings = {
            key: value for key, value in asdict(config).items() if key not in _NOT_PART_OF_IT
        }
        tensors = (episodes.observations, episodes.actions, episodes.rewards)
        facts = [settings, seed, episodes.terminal, [list(tensor.shape) for tensor in tensors]]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
        for tensor in tensors:
            digest.update(tensor.contiguous().cpu().numpy().tobytes())
        self._training, self._train_steps = digest.hexdigest(), config.train_steps

    def resume(self, algo: Any, rng: np.random.Generator) -> int:
        """Load the last checkpoint into `algo` and the generators; return its step, else 0.

        Every file is checked against its sha256 before it is read. torch reads weights only, no
        pickled objects.

        Raises:
            DamagedFile: A file of the checkpoint is not what was written.
            ValueError: The folder holds a checkpoint of another training, or of more updates than
                `train_steps`.
        """
        found = sorted(self.folder.glob("step_*.json"), key=lambda path: int(path.stem[5:]))
        if not found:
            return 0
        facts = self._read(found[-1])
        if facts["training"] != self._training:
            if not self._strict:
                return 0
            raise ValueError(
                f"{self.folder} holds the checkpoint of a training with other data, settings or "
                "seed; choose another folder for checkpoints, or remove this one"
            )
        if facts["step"] > self._train_steps:
            raise ValueError(
                f"{self.folder} holds the checkpoint of {facts['step']} updates, more than "
                f"train_steps={self._train_steps}; choose another folder for checkpoints, or at "
                "least as many train_steps"
            )
        weights = found[-1].with_suffix(".pt")
        for path in (weights, weights.with_suffix(".d3")):
            if path == weights or path.exists():  # only d3rlpy reads the other one
                self._check(path, facts)
        try:
            algo.load_model(str(weights))
        except (RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
            raise DamagedFile(_damaged(weights, str(error).partition("\n")[0])) from error
        algo.set_grad_step(facts["step"])  # some algorithms update the policy every other step
        rng.bit_generator.state = facts["numpy"]
        torch.set_rng_state(torch.tensor(facts["torch"], dtype=torch.uint8))
        return int(facts["step"])

    def _read(self, path: Path) -> dict[str, Any]:
        """Return the facts of a checkpoint.

        Raises:
            DamagedFile: The file is not what was written.
        """
        try:
            facts = dict(json.loads(path.read_bytes()))
            if not {"step", "training", "numpy", "torch"} <= set(facts):
                raise ValueError("it holds no checkpoint")
        except (ValueError, TypeError) as error:
            raise DamagedFile(_damaged(path, str(error))) from error
        if "sha256" not in facts:
            warnings.warn(
                f"{path} has no checksum: an older mbo_gym wrote it. It is read as it is.",
                stacklevel=3,
            )
        elif facts["sha256"] != _checksum(facts):
            raise DamagedFile(_damaged(path, "its content differs from its checksum"))
        return facts

    def _check(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Raise DamagedFile where a file differs from its sha256 in the facts."""
        if not path.is_file():
            raise DamagedFile(_damaged(path, "it is missing"))
        known = facts.get("files", {}).get(path.suffix)
        if known is not None and store.sha256(path) != known:
            raise DamagedFile(_damaged(path, "its content differs from its checksum"))

    def keep_snapshot(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Write the policy's weights after `step` updates."""
        save_weights(self.folder / f"policy_{step}.safetensors", weights)

    def read_snapshots(self, snapshots: dict[int, Any], done: int) -> None:
        """Fill in the snapshots of the first `done` updates.

        Raises:
            ValueError: A snapshot is missing.
        """
        for step in [step for step in snapshots if step <= done]:
            path = self.folder / f"policy_{step}.safetensors"
            if not path.exists():
                raise ValueError(
                    f"{self.folder} holds no snapshot of the policy after {step} updates, but has "
                    f"come to step_{done}; remove the folder to train anew"
                )
            snapshots[step] = load_weights(path)

    def save(self, algo: Any, rng: np.random.Generator, step: int) -> None:
        """Write the checkpoint after `step` updates."""
        path = self.folder / f"step_{step}"
        store.write_atomic(path.with_suffix(".pt"), lambda partial: algo.save_model(str(partial)))
        store.write_atomic(path.with_suffix(".d3"), lambda partial: algo.save(str(partial)))
        facts = {
            "step": step,
            "training": self._training,
            "numpy": rng.bit_generator.state,
            "torch": torch.get_rng_state().tolist(),
            "files": {kind: store.sha256(path.with_suffix(kind)) for kind in (".pt", ".d3")},
        }
        facts["sha256"] = _checksum(facts)
        # The JSON file comes last: with it the checkpoint counts.
        store.write_atomic(path.with_suffix(".json"), json.dumps(facts).encode())
        for old in self.folder.glob("step_*"):
            if old.stem != path.name:
                old.unlink()


def _checksum(facts: Mapping[str, Any]) -> str:
    """Return the sha256 of the facts of a checkpoint, but for that itself."""
    rest = {key: value for key, value in facts.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _damaged(path: Path, reason: str) -> str:
    return (
        f"{path} is damaged: {reason}. Take an undamaged copy of the folder, or remove "
        f"{path.parent} to train anew."
    )
