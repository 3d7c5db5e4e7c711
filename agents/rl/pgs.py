"""PGS: policy-guided gradient search (Chemingui, Deshwal, Hoang, Doppa, AAAI 2024, arXiv
2405.05349).

Offline optimisation as offline reinforcement learning: a state is a design, an action a vector of
step sizes on the surrogate's gradient, the reward what the step was worth.

Algorithm:
    1. Fit a surrogate f on the visible designs' features (search_process.fit_surrogates).
    2. Make episodes of T steps at the best p percent of the visible designs
       (episodes.make_episodes).
    3. Learn a policy from them by offline reinforcement learning (offline.train_offline, through
       d3rlpy).
    4. From the n >= K best visible designs, repeat T times: z <- z + scale * policy(z) * grad f(z)
       (search_process).
    5. Return K designs, the highest value by the judge first: the ends, or the best distinct ones
       visited on the way.

`paper` is the paper's formulation: episodes are trajectories of visible designs in random order,
the action is the step that would lead from one to the next, the reward the difference of their
scores, and the ends are proposed. `released`
is what its program does: an action's unit is 10 gradients in training and 0.05 sqrt(d) (categorical
2 sqrt(d)) in the search, components outside [-1, 1] become zero, rewards are averaged over the
mini-batch by a broadcast, the last transition ends the world. Both at the length of a laptop's
training are `paper_short` and `released_short`.

The default differs from the paper, each for a measured reason (see the README's results): Two
    surrogates. The guide gives the gradient; the judge, fitted on the other half of the visible
    data, gives the
        reward. A step is worth what a model says that had no part in choosing it. The judge of the
        designs that were visited also orders them, and it sees the design that is decoded, not the
        point between designs.
    Episodes are random steps from the best designs, so that every recorded action leads to the
        recorded state. Between two visible designs most actions lie outside [-1, 1], and the
        difference of scores adds up along a random order to nearly the same return whatever the
        actions were.
    Steps are not negative and are measured on the gradient divided by its size, shorter where the
        surrogate ranks designs badly that it was not fitted on; the search stays in the data's box.
    A value is the judge's mean less two deviations of its members.
    The policy sees more than the design: for each feature whether the two surrogates' gradients
        agree (their product), the prediction, the ensemble's spread and the steps left.
    The search starts from more designs than are proposed. TD3 with behaviour cloning and a short
    horizon (discount 0.5), stopped early: longer training finds what deceives
        the judge.

Where the task has few designs: with judge="cross" each half must hold enough of them to fit a
surrogate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from agents.rl.collect import EpisodeConfig, make_episodes
from agents.rl.learner import policy_actions, train_offline
from agents.rl.learner_config import Algorithm, OfflineConfig
from agents.rl.process import ProcessConfig, SearchProcess, fit_surrogates
from agents.rl.selection import Candidate, KnnScore, rank_candidates
from agents.rl.value_prediction import train_value_prediction
from mbo_gym.encoders.base import Encoder
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import default_action_scale
from mbo_gym.files import store
from mbo_gym.files.weights import save_weights
from mbo_gym.methods.ascent import SearchWatch, best_distinct, start_features
from mbo_gym.methods.base import save_config
from mbo_gym.optional import optional_import
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import require_at_least
from mbo_gym.trajectories.actions import with_actions
from mbo_gym.trajectories.samplers import random_top

__all__ = ["PGSConfig", "PolicyGuidedSearch"]

OSEL_PERCENTS = (10.0, 20.0, 30.0, 40.0)
OSEL_CHECKPOINTS = 4
OSEL_PROPOSALS = 128


@dataclass(frozen=True)
class PGSConfig(OfflineConfig, EpisodeConfig, ProcessConfig):
    """Settings of policy-guided search: those of the process, of the episodes and of the learner,
    and these.

    Args:
        n_starts: Best visible designs that the search starts from; None for K (the paper's), and
            never fewer.
        search_steps: Steps of the search; None for `horizon`.
        proposals: ``visited``: the K best distinct designs on the way, by the judge; ``ends`` (the
            paper's).
        select: ``none``, or ``osel``: p from 10, 20, 30, 40 and one of four checkpoints, see
            `model_selection`.
        embedding: Of OSEL: the guide's last ``hidden`` layer, or a value-prediction network
            (``vpn``, the paper's).
        encoder: Name of the encoder.
        n_step: Rewards added up where `reward` is ``n_step``; 1 elsewhere.
    """

    algorithm: Algorithm = "td3bc"
    train_steps: int = 500
    discount: float = 0.5
    hidden: int = 128
    n_step: int = 5
    n_starts: int | None = 1024
    search_steps: int | None = None
    proposals: Literal["visited", "ends"] = "visited"
    select: Literal["none", "osel"] = "none"
    embedding: Literal["hidden", "vpn"] = "hidden"
    encoder: str = "z_score"

    def __post_init__(self) -> None:
        for part in (OfflineConfig, EpisodeConfig, ProcessConfig):
            part.__post_init__(self)
        require_at_least(self, 0, "search_steps")
        require_at_least(self, 1, "n_starts")
        if self.select == "osel" and self.train_steps < 1:
            raise ValueError(
                "select='osel' chooses among checkpoints and needs at least one update, got train_steps=0"
            )


PAPER = PGSConfig(
    step="vector",
    sign="both",
    gradient="raw",
    state="design",
    judge="same",
    pessimism=0.0,
    bounds="none",
    surrogate="mlp_paper",
    trajectories="random",
    reward="difference",
    standardise_rewards=False,
    n_starts=None,
    proposals="ends",
    algorithm="cql",
    n_trajectories=20_000,
    train_steps=400_000,
    n_action_samples=10,
    discount=0.99,
    hidden=256,
)
RELEASED = replace(PAPER, train_scale=10.0, outside="zero", average_rewards=True, terminal=True)
SHORT: dict[str, Any] = {
    "surrogate": "mlp",
    "n_trajectories": 1000,
    "train_steps": 1000,
    "n_action_samples": 4,
    "hidden": 128,
}


class PolicyGuidedSearch:
    """Policy-guided gradient search; see the module's docstring.

    Args:
        config: Its settings.

    Attributes:
        ranking: With ``select="osel"``, each (p, checkpoint) with its score, the chosen one first.
    """

    Config: ClassVar[type[Any]] = PGSConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": PAPER,
        "released": RELEASED,
        "paper_short": replace(PAPER, **SHORT),
        "released_short": replace(RELEASED, **SHORT),
    }
    SETTINGS: ClassVar[Mapping[str, Any]] = {}
    criterion: np.ndarray

    def __init__(self, config: PGSConfig | None = None) -> None:
        self.config = config or PGSConfig()
        self._algo: Any = None
        self.ranking: list[tuple[Candidate, float]] = []

    def fit(self, problem: OfflineProblem, *, seed: int, device: str, progress: Progress) -> None:
        """Fit the surrogates, make the episodes, learn the policy."""
        config = self.config
        if config.step != "constant":
            optional_import(
                "d3rlpy", "rl"
            )  # a missing library shows now, not after minutes of fitting
        self._problem, self._seed, self._device, self._progress = problem, seed, device, progress
        self._encoder: Encoder = make_encoder(
            problem, config.encoder, device=device, progress=progress
        )
        self._surrogates = fit_surrogates(
            problem, self._encoder, config, seed=seed, device=device, progress=progress
        )
        self._process = SearchProcess(problem, self._encoder, self._surrogates, config, device)
        if config.step == "constant":
            return
        if config.select == "osel":
            self._select_policy()
        else:
            self._algo = self._learn(config, None)

    def propose(self, k: int) -> np.ndarray:
        """Search from the `k` best visible designs; return `k` designs, the highest value by the
        judge first."""
        x, self.criterion = self._proposals(k, self._progress)
        return x

    def save(self, folder: Path) -> None:
        """Write the settings, the surrogates, and the policy: its weights, TorchScript, d3rlpy's
        own file.

        ``policy.d3`` is what `d3rlpy.load_learnable` reads; ``policy.pt`` is what `torch.jit.load`
        reads.
        """
        save_config(folder, self.config)
        guide, judge = self._surrogates
        guide.save(folder / "surrogate.safetensors")
        if judge is not guide:
            judge.save(folder / "judge.safetensors")
        if self.ranking:
            ranking = [
                {"p": candidate.p, "step": candidate.step, "score": score}
                for candidate, score in self.ranking
            ]
            store.write_atomic(folder / "osel.json", json.dumps(ranking, indent=2).encode())
        if self._algo is None:
            return
        save_weights(folder / "policy.safetensors", self._algo.impl.policy.state_dict())
        self._algo.save(str(folder / "policy.d3"))
        self._algo.save_policy(str(folder / "policy.pt"))

    def _learn(self, config: PGSConfig, snapshots: dict[int, Any] | None) -> Any:
        """Make episodes and learn a policy from them."""
        generator = torch.Generator().manual_seed(self._seed)
        episodes = make_episodes(self._problem, self._encoder, self._process, config, generator)
        at_the_end = float((episodes.actions.abs() == 1).float().mean())
        self._progress.metrics(
            "episodes", 0, reward=float(episodes.rewards.mean()), clipped_share=at_the_end
        )
        learner = OfflineConfig(
            **{field.name: getattr(config, field.name) for field in fields(OfflineConfig)}
        )
        if config.reward != "n_step":
            learner = replace(learner, n_step=1)
        device, progress = self._device, self._progress
        return train_offline(
            episodes,
            learner,
            seed=self._seed,
            device=device,
            progress=progress,
            snapshots=snapshots,
        )

    def _proposals(self, k: int, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
        """Search; return `k` designs (k, *shape) and the judge's values of them (k,), the highest
        first."""
        z, value = self._search(max(k, self.config.n_starts or k), progress)
        x = self._encoder.decode(z.cpu().numpy())
        values = value.cpu().numpy()
        if self.config.proposals == "visited":
            return best_distinct(x, values, k)
        order = np.argsort(-values, kind="stable")[:k]
        return np.asarray(x[order]), values[order]

    def _search(self, n: int, progress: Progress) -> tuple[Tensor, Tensor]:
        """Return the features of the `n` ends (n, d), or of all designs visited, and the judge's
        values of them."""
        config, process = self.config, self._process
        steps = config.horizon if config.search_steps is None else config.search_steps
        z = start_features(
            self._problem, self._encoder, n, torch.Generator().manual_seed(self._seed)
        ).to(self._device)
        watch = SearchWatch(self._problem, self._encoder, "search", steps, progress)
        value = process.value(z)
        visited, values = [z], [value]
        for step in progress.track(range(steps), "policy-guided search"):
            watch(step, z, value)
            observation, direction = process.look(z, 1 - step / steps)
            action = self._act(observation)
            progress.metrics("search", step, action=float(action.mean()))
            z = process.move(z, direction, action)
            value = process.value(z)
            visited.append(z)
            values.append(value)
        watch(steps, z, value)
        return (
            (torch.cat(visited), torch.cat(values)) if config.proposals == "visited" else (z, value)
        )

    def _act(self, observation: Tensor) -> Tensor:
        if self._algo is None:
            return torch.ones(len(observation), self._process.n_actions, device=observation.device)
        return policy_actions(self._algo, observation)

    def _select_policy(self) -> None:
        """Learn a policy for each p, keep four checkpoints of each, and take the one that OSEL
        ranks first."""
        config = self.config
        kept = [
            max(1, config.train_steps * (i + 1) // OSEL_CHECKPOINTS)
            for i in range(OSEL_CHECKPOINTS)
        ]
        trained: dict[float, tuple[Any, dict[int, Any]]] = {}
        candidates = []
        for p in OSEL_PERCENTS:
            snapshots: dict[int, Any] = dict.fromkeys(kept)
            folder = (
                None if config.checkpoints is None else str(Path(config.checkpoints) / f"p{p:g}")
            )
            self._algo = self._learn(replace(config, p=p, checkpoints=folder), snapshots)
            trained[p] = self._algo, snapshots
            for step, weights in snapshots.items():
                self._algo.impl.policy.load_state_dict(weights)
                x, _ = self._proposals(OSEL_PROPOSALS, NullProgress())
                candidates.append(
                    Candidate(p, step, torch.from_numpy(self._encoder.encode(x)).to(self._device))
                )
        score = KnnScore(self._problem, self._encoder, self._embedding(), device=self._device)
        self.ranking = rank_candidates(candidates, score)
        for candidate, value in self.ranking:
            self._progress.metrics("osel", candidate.step, p=candidate.p, score=value)
        chosen = self.ranking[0][0]
        self._algo, snapshots = trained[chosen.p]
        self._algo.impl.policy.load_state_dict(snapshots[chosen.step])

    def _embedding(self) -> Any:
        """Return the embedding that OSEL measures distances in."""
        if self.config.embedding == "hidden":
            return self._process.guide.hidden
        generator = torch.Generator().manual_seed(self._seed)
        batch = random_top(
            self._problem, self._encoder, 100.0, 1000, self.config.horizon, generator
        )
        space, device = self._problem.space, self._device
        batch = replace(batch, z=batch.z.to(device), y=batch.y.to(device))
        unit = default_action_scale(self._problem, self._encoder, "step_vector").to(
            device
        )  # of the raw gradient
        batch = with_actions(batch, self._process.guide, "step_vector", unit)
        network = train_value_prediction(
            batch,
            space,
            seed=self._seed,
            device=device,
            progress=self._progress,
            terminal=self.config.terminal,
        )
        return network.embed
