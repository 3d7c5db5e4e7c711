"""PGS: policy-guided gradient search, offline optimization as offline reinforcement learning."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from agents.rl.collect import EpisodeConfig, make_episodes
from agents.rl.learner import load_policy, policy_actions, save_policy, train_offline
from agents.rl.learner_config import OfflineConfig
from agents.rl.search import learning_curve
from agents.rl.selection import Candidate, KnnScore, rank_candidates
from agents.rl.value_prediction import train_value_prediction
from mbo_gym.encoders.base import Encoder
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import Gradient, Sign, default_action_scale
from mbo_gym.envs.observation import Observation
from mbo_gym.envs.process import EnvConfig, Process
from mbo_gym.files import store
from mbo_gym.files.weights import load_weights, save_weights
from mbo_gym.methods.ascent import SearchWatch, best_distinct, start_features
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals
from mbo_gym.methods.distinct import distinct_proposals
from mbo_gym.methods.fitted import Fitted
from mbo_gym.optional import optional_import
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import Choice, require_at_least
from mbo_gym.surrogates.base import Surrogate
from mbo_gym.surrogates.fitting import fit_guide_and_judge
from mbo_gym.surrogates.registry import load_surrogate
from mbo_gym.trajectories.actions import with_actions
from mbo_gym.trajectories.samplers import random_top

__all__ = ["PGSConfig", "PolicyGuidedSearch", "SearchEnvConfig"]

OSEL_PERCENTS = (10.0, 20.0, 30.0, 40.0)
OSEL_CHECKPOINTS = 4
OSEL_PROPOSALS = 128

GUIDE_FILE = "surrogate.safetensors"
JUDGE_FILE = "judge.safetensors"
RANKING_FILE = "osel.json"
CANDIDATES_FILE = "osel.safetensors"


@dataclass(frozen=True)
class SearchEnvConfig:
    """Settings of the environment, arguments of `gym.make` by the same names.

    `PGSConfig.env_arguments` returns all arguments.

    Args:
        step: An action is a ``vector`` of step sizes, one of each feature (the paper's), a
            ``scalar`` for all, or ``constant``: always the largest step, without a policy (the
            latter two are ablations).
        sign: ``both``: steps in [-1, 1] (the paper's); ``positive``: in [0, 1], never against the
            gradient.
        gradient: ``raw`` (the paper's), or ``unit``: divided by its root mean square over the
            features.
        action_scale: Largest step, in gradients. None for the paper's with raw gradients, 0.05
            sqrt(d), categorical 2 sqrt(d); with unit gradients for 0.1, categorical 0.5, standard
            deviations times the guide's rank correlation on rows held out: the worse the guide, the
            shorter the steps.
        observation: The policy sees the ``design`` (the paper's), or is ``guided``: also by the
            agreement of the gradients of guide and judge, the prediction, the judge's spread and
            the share of steps left.
        judge: ``same``: the guide judges itself; ``cross``: guide and judge are fitted on a half of
            the visible data each.
        pessimism: Standard deviations of the judge's members that are subtracted from a value. None
            for 2, and for 0 with a surrogate without members.
        bounds: ``data``: the search stays in the box of the visible features; ``none`` (the
            paper's).
        surrogate: Surrogate; the judge is of the same kind.
        encoder: Name of the encoder.
    """

    step: Literal["vector", "scalar", "constant"] = "vector"
    sign: Sign = "positive"
    gradient: Gradient = "unit"
    action_scale: float | None = None
    observation: Observation = "guided"
    judge: Literal["same", "cross"] = "cross"
    pessimism: float | None = None
    bounds: Literal["data", "none"] = "data"
    surrogate: Choice = Choice("auto")
    encoder: str = "z_score"

    def __post_init__(self) -> None:
        require_at_least(self, 0, "action_scale", "pessimism")


_EPISODES = EpisodeConfig()
_LEARNER = OfflineConfig(algorithm="td3bc", train_steps=500, discount=0.5, hidden=128, n_step=5)


@dataclass(frozen=True)
class PGSConfig:
    """Settings of `PolicyGuidedSearch`.

    Args:
        env: Settings of the environment.
        episodes: Settings of the episodes; their `horizon` is that of the environment.
        learner: Settings of the offline-RL learner. `n_step` counts where `episodes.reward` is
            ``n_step``; it is 1 elsewhere.
        n_starts: Best visible designs that the search starts from, at least K; None for K (the
            paper's).
        search_steps: Steps of the search; None for `episodes.horizon`.
        proposals: ``visited``: the K best distinct designs on the way, by the judge; ``ends`` (the
            paper's).
        select: ``none``, or ``osel``: p from 10, 20, 30, 40 and one of four checkpoints, see
            `agents.rl.selection`.
        embedding: Embedding of OSEL: the guide's last ``hidden`` layer, or a value-prediction
            network (``vpn``, the paper's).
    """

    env: SearchEnvConfig = SearchEnvConfig()
    episodes: EpisodeConfig = _EPISODES
    learner: OfflineConfig = _LEARNER
    n_starts: int | None = 1024
    search_steps: int | None = None
    proposals: Literal["visited", "ends"] = "visited"
    select: Literal["none", "osel"] = "none"
    embedding: Literal["hidden", "vpn"] = "hidden"

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"state": "env.observation"}

    def __post_init__(self) -> None:
        require_at_least(self, 0, "search_steps")
        require_at_least(self, 1, "n_starts")
        if self.select == "osel" and self.learner.train_steps < 1:
            raise ValueError(
                "select='osel' chooses among checkpoints and needs at least one update, got "
                "learner.train_steps=0"
            )

    def env_arguments(self, seed: int = 0) -> dict[str, Any]:
        """Return the arguments of `gym.make` for the environment of a fit with a seed.

        Its rewards are those of the episodes with ``reward="surrogate_difference"``, before they
        are standardised.
        """
        env = self.env
        return {
            "step": "vector" if env.step == "vector" else "scalar",
            "sign": env.sign,
            "gradient": env.gradient,
            "action_scale": env.action_scale,
            "trust": env.gradient == "unit",
            "observation": env.observation,
            "judge": env.judge,
            "pessimism": env.pessimism,
            "bounds": env.bounds,
            "surrogate": env.surrogate if env.surrogate.settings else env.surrogate.name,
            "encoder": env.encoder,
            "horizon": self.episodes.horizon,
            "surrogate_seed": seed,
        }


PAPER = PGSConfig(
    env=SearchEnvConfig(
        sign="both",
        gradient="raw",
        observation="design",
        judge="same",
        pessimism=0.0,
        bounds="none",
        surrogate=Choice("mlp_paper"),
    ),
    episodes=EpisodeConfig(
        trajectories="random",
        n_trajectories=20_000,
        reward="difference",
        standardise_rewards=False,
    ),
    learner=replace(
        _LEARNER,
        algorithm="cql",
        train_steps=400_000,
        n_action_samples=10,
        discount=0.99,
        hidden=256,
    ),
    n_starts=None,
    proposals="ends",
)
ENSEMBLE = PGSConfig(env=SearchEnvConfig(surrogate=Choice("light_ensemble")))
RELEASED = replace(
    PAPER,
    episodes=replace(PAPER.episodes, train_scale=10.0, outside="zero", terminal=True),
    learner=replace(PAPER.learner, average_rewards=True),
)
LIGHT = PGSConfig(
    env=SearchEnvConfig(
        surrogate=Choice("mlp", {"hidden": 16, "train_steps": 40, "batch_size": 64})
    ),
    episodes=EpisodeConfig(n_trajectories=30, horizon=5, p=50.0),
    learner=replace(_LEARNER, train_steps=20, batch_size=32, hidden=16),
)


def _shortened(config: PGSConfig) -> PGSConfig:
    """Return a preset at the length of a laptop's training."""
    return replace(
        config,
        env=replace(config.env, surrogate=Choice("mlp")),
        episodes=replace(config.episodes, n_trajectories=1000),
        learner=replace(config.learner, train_steps=1000, n_action_samples=4, hidden=128),
    )


class PolicyGuidedSearch(Method):
    """PGS: policy-guided gradient search (Chemingui, Deshwal, Hoang, Doppa, AAAI 2024).

    Offline optimization as offline reinforcement learning: a state is a design, an action a vector
    of step sizes on the surrogate's gradient, the reward the gain of the step. The policy is
    trained on, and searches with, the environment that `gym.make` makes of
    `PGSConfig.env_arguments`.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. make episodes of T steps at the best p percent of the visible designs
        3. learn a policy from them by offline reinforcement learning (d3rlpy)
        4. from the n >= K best visible designs, repeat T times:
           z <- z + scale * policy(z) * grad f(z)
        5. propose K designs, the highest value by the judge first: the end points, or the best
           distinct designs on the way

    Preset `paper` is the paper's formulation: episodes are trajectories of visible designs in
    random order, an action is the step that would lead from one to the next, the reward the
    difference of their scores, and the end points are proposed. Preset `released` is its program.
    `paper_short` and `released_short` have the length of a laptop's training. Preset `ensemble` has
    a light ensemble as surrogate, and pessimism by its spread. With
    ``judge="cross"`` each half of the data must hold enough designs to fit a surrogate.

    Args:
        config: Settings.

    Attributes:
        process: Decision process of the environment.
        algo: Trained d3rlpy algorithm; None with ``step="constant"``.
        ranking: With ``select="osel"``, each (p, checkpoint) with its score, the chosen one first.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("pgs", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Chemingui, Deshwal, Hoang, Doppa 2024, Offline Model-Based Optimization via Policy-Guided
        Gradient Search, arXiv 2405.05349.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="PGS: policy-guided gradient search",
        paper=(
            "Chemingui, Deshwal, Hoang, Doppa 2024, Offline Model-Based Optimization via "
            "Policy-Guided Gradient Search, AAAI, arXiv 2405.05349"
        ),
        differences=(
            Difference(
                "one surrogate gives the gradient; rewards are differences of visible scores",
                "two surrogates, fitted on a half of the data each: the guide gives the gradient, "
                "the judge the reward; the judge also orders the designs visited, by the design "
                "that is decoded",
                "a step is rewarded by a model that had no part in choosing it",
            ),
            Difference(
                "episodes are trajectories of visible designs in random order",
                "episodes are random steps from the best designs",
                "every recorded action leads to the recorded state; between two visible designs "
                "most actions lie outside [-1, 1], and the differences of scores add up to nearly "
                "the same return whatever the actions were",
            ),
            Difference(
                "steps have both signs, on the raw gradient, without bounds",
                "steps are not negative, on the gradient at unit size, shorter where the surrogate "
                "ranks rows held out badly, and stay in the data's box",
                "higher scores in the ablations of the results",
            ),
            Difference(
                "the surrogate is a network",
                "the surrogate is the race of families on held-out rows, `auto`; preset `ensemble` "
                "has an ensemble, whose value is the mean less two deviations of its members",
                "higher scores in the results of the baselines",
            ),
            Difference(
                "the policy sees the design",
                "the policy also sees whether the two gradients agree, feature by feature, the "
                "prediction, the spread of the ensemble and the steps left",
                "higher scores in the ablations of the results",
            ),
            Difference(
                "the search starts from K designs",
                "the search starts from 1,024 designs",
                "more designs to choose proposals from",
            ),
            Difference(
                "CQL, 400,000 updates, discount 0.99",
                "TD3 with behaviour cloning, 500 updates, discount 0.5",
                "longer training finds designs that deceive the judge",
            ),
            Difference(
                "the released program: an action's unit is 10 gradients in training and 0.05 "
                "sqrt(d) (categorical 2 sqrt(d)) in the search, actions outside [-1, 1] become 0, "
                "a broadcast averages rewards over the mini-batch, the last transition is terminal",
                "none of these; preset `released` has all",
                "the paper describes none of them",
            ),
        ),
        metrics={
            "surrogate/loss": "training loss of a surrogate, mean over its members",
            "episodes/reward": "mean reward of the recorded transitions",
            "episodes/clipped_share": "share of the recorded actions at -1 or 1",
            "offline_rl/critic_loss": "loss of the critics; d3rlpy names one for each network",
            "offline_rl/actor_loss": "loss of the policy",
            "value_prediction/reward_loss": "error of the predicted rewards (`embedding=vpn`)",
            "value_prediction/value_loss": "error of the predicted values (`embedding=vpn`)",
            "osel/p": "percentile of a candidate, best candidate first (`select=osel`)",
            "osel/score": "OSEL score of a candidate, in standard deviations (`select=osel`)",
            "learning/prediction": "mean prediction of the designs that the policy reaches, by "
            "updates (`select=none`)",
            "search/prediction": "mean value of the designs at a step, in standard deviations",
            "search/action": "mean action at a step of the search",
        },
        equations=(
            r"z_{t+1} = z_t + \eta\, \pi(z_t) \odot \nabla f(z_t)",
            r"r_t = V(z_{t+1}) - V(z_t)",
            r"V(z) = g(x_z) - \beta\, \sigma_g(x_z)",
        ),
    )
    Config: ClassVar[type[Any]] = PGSConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": PAPER,
        "released": RELEASED,
        "paper_short": _shortened(PAPER),
        "released_short": _shortened(RELEASED),
        "ensemble": ENSEMBLE,
        "light": LIGHT,
    }

    process: Process
    algo: Any = None
    ranking: list[tuple[Candidate, float]]

    def __init__(self, config: PGSConfig | None = None) -> None:
        super().__init__(config)
        self.ranking = []

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the surrogates, make the episodes, learn the policy.

        Raises:
            MissingDependency: d3rlpy is not installed.
            ValueError: Pessimism is asked of a surrogate without members.
        """
        self.start(problem, context)
        env = self.config.env
        if env.step != "constant":
            optional_import("d3rlpy", "rl")  # fail before minutes of fitting
        encoder = self._encoder()
        guide, judge = fit_guide_and_judge(
            problem,
            encoder,
            env.surrogate,
            env.judge,
            seed=context.seed,
            device=context.device,
            progress=context.progress,
        )
        self.process = self._make_process(encoder, guide, judge)
        if env.step == "constant":
            return
        if self.config.select == "osel":
            self._select_policy()
        else:
            self.algo = self._learn(self.config, None, watch=self._curve())

    def propose(self, k: int) -> Proposals:
        """Search from the `k` best visible designs, or more; the criterion is the judge's value."""
        x, value = self._proposals(k, self.context.progress)
        _, judge = self._surrogates()
        return Proposals(x, value, unit="deviations" if judge.predicts_scores else "own")

    def write_state(self, folder: Path) -> None:
        """Write surrogates, ranking and policy, see `agents.rl.learner.save_policy`."""
        guide, judge = self._surrogates()
        guide.save(folder / GUIDE_FILE)
        if judge is not guide:
            judge.save(folder / JUDGE_FILE)
        if self.ranking:
            self._write_ranking(folder)
        if self.algo is not None:
            save_policy(self.algo, folder)

    def read_state(self, folder: Path) -> None:
        """Read surrogates, ranking and policy."""
        device = self.context.device
        guide = load_surrogate(folder / GUIDE_FILE).to(device)
        judge = guide
        if (folder / JUDGE_FILE).exists():
            judge = load_surrogate(folder / JUDGE_FILE).to(device)
        self.process = self._make_process(self._encoder(), guide, judge)
        if (folder / RANKING_FILE).exists():
            self._read_ranking(folder)
        if self.config.env.step == "constant":
            return
        n_observed = len(self.process.observation_box()[0])
        n_actions = self.process.n_actions
        self.algo = load_policy(folder, self.config.learner, n_observed, n_actions, device)

    def _encoder(self) -> Encoder:
        made: Encoder = make_encoder(
            self.problem,
            self.config.env.encoder,
            device=self.context.device,
            progress=self.context.progress,
        )
        return made

    def _make_process(self, encoder: Encoder, guide: Surrogate, judge: Surrogate) -> Process:
        """Return the process of the environment with surrogates that are fitted already."""
        arguments = self.config.env_arguments(self.context.seed)
        fitted = {"task": self.problem, "encoder": encoder, "surrogate": guide, "judge": judge}
        return Process(EnvConfig(**{**arguments, **fitted}), self.context.device)

    def _surrogates(self) -> tuple[Surrogate, Surrogate]:
        """Return guide and judge.

        Raises:
            RuntimeError: The process has none.
        """
        guide, judge = self.process.surrogate, self.process.judge
        if guide is None or judge is None:
            raise RuntimeError("the process has no surrogate. Call fit(problem) first.")
        return guide, judge

    def _curve(self) -> Callable[[Any, int], None]:
        """Return the observer of the training that records its learning curve."""
        guide, _ = self._surrogates()
        fitted = Fitted(self.problem, self.process.encoder, guide, self.context)
        return learning_curve(
            fitted, self.process, lambda algo: (lambda seen: policy_actions(algo, seen), None)
        )

    def _learn(
        self,
        config: PGSConfig,
        snapshots: dict[int, Any] | None,
        watch: Callable[[Any, int], None] | None = None,
    ) -> Any:
        """Make episodes and learn a policy from them."""
        context = self.context
        generator = torch.Generator().manual_seed(context.seed)
        episodes = make_episodes(self.process, config.episodes, generator)
        clipped = float((episodes.actions.abs() == 1).float().mean())
        context.progress.metrics(
            "episodes", 0, reward=float(episodes.rewards.mean()), clipped_share=clipped
        )
        learner = config.learner
        if config.episodes.reward != "n_step":
            learner = replace(learner, n_step=1)
        return train_offline(
            episodes,
            learner,
            seed=context.seed,
            device=context.device,
            progress=context.progress,
            snapshots=snapshots,
            watch=watch,
        )

    def _proposals(self, k: int, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
        """Search; return `k` designs (k, *shape) and values (k,), the highest first."""
        z, value = self._search(max(k, self.config.n_starts or k), progress)
        x = self.process.encoder.designs(z)
        values = value.cpu().numpy()
        if isinstance(self.problem.space, MixedSpace):
            seed = self.context.seed
            found = distinct_proposals(self.problem, x, k, seed=seed, predict=self._values)
            return found.x, found.criterion
        if self.config.proposals == "visited":
            return best_distinct(x, values, k)
        order = np.argsort(-values, kind="stable")[:k]
        return np.asarray(x[order]), values[order]

    def _values(self, x: np.ndarray) -> np.ndarray:
        """Return the values (n,) of designs (n, *shape)."""
        z = self.process.encoder.features(x, self.context.device)
        return self.process.value(z).cpu().numpy()

    def _search(self, n: int, progress: Progress) -> tuple[Tensor, Tensor]:
        """Return features and values of the `n` end points, or of all designs visited."""
        config, process = self.config, self.process
        steps = config.episodes.horizon if config.search_steps is None else config.search_steps
        generator = torch.Generator().manual_seed(self.context.seed)
        z = start_features(self.problem, process.encoder, n, generator).to(process.device)
        watch = SearchWatch(self.problem, process.encoder, "search", steps, progress)
        state = process.at(z, horizon=steps)
        visited = [state.z]
        values = [state.value]
        for step in progress.track(range(steps), "policy-guided search"):
            watch(step, state.z, state.value)
            action = self._act(state.observation)
            progress.metrics("search", step, action=float(action.mean()))
            state, _ = process.step(state, action)
            visited.append(state.z)
            values.append(state.value)
        watch(steps, state.z, state.value)
        if config.proposals == "ends":
            return state.z, state.value
        return torch.cat(visited), torch.cat(values)

    def _act(self, observation: Tensor) -> Tensor:
        """Return the policy's actions (B, m), or the largest steps without a policy."""
        if self.algo is None:
            return torch.ones(len(observation), self.process.n_actions, device=observation.device)
        return policy_actions(self.algo, observation)

    def _select_policy(self) -> None:
        """Learn a policy for each p, keep four checkpoints of each, take the best by OSEL."""
        config = self.config
        train_steps = config.learner.train_steps
        kept = [max(1, train_steps * (i + 1) // OSEL_CHECKPOINTS) for i in range(OSEL_CHECKPOINTS)]
        trained: dict[float, tuple[Any, dict[int, Any]]] = {}
        candidates = []
        for p in OSEL_PERCENTS:
            snapshots: dict[int, Any] = dict.fromkeys(kept)
            self.algo = self._learn(_with_percent(config, p), snapshots)
            trained[p] = self.algo, snapshots
            for step, weights in snapshots.items():
                self.algo.impl.policy.load_state_dict(weights)
                x, _ = self._proposals(OSEL_PROPOSALS, NullProgress())
                z = self.process.encoder.features(x, self.context.device)
                candidates.append(Candidate(p, step, z))
        score = KnnScore(
            self.problem, self.process.encoder, self._embedding(), device=self.context.device
        )
        self.ranking = rank_candidates(candidates, score)
        for candidate, value in self.ranking:
            self.context.progress.metrics("osel", candidate.step, p=candidate.p, score=value)
        chosen = self.ranking[0][0]
        self.algo, snapshots = trained[chosen.p]
        self.algo.impl.policy.load_state_dict(snapshots[chosen.step])

    def _embedding(self) -> Any:
        """Return the embedding that OSEL measures distances in."""
        guide, _ = self._surrogates()
        if self.config.embedding == "hidden":
            return guide.hidden
        seed, device = self.context.seed, self.context.device
        generator = torch.Generator().manual_seed(seed)
        horizon = self.config.episodes.horizon
        encoder = self.process.encoder
        batch = random_top(self.problem, encoder, 100.0, 1000, horizon, generator)
        batch = replace(batch, z=batch.z.to(device), y=batch.y.to(device))
        unit = default_action_scale(self.problem, encoder, "step_vector")  # of the raw gradient
        batch = with_actions(batch, guide, "step_vector", unit.to(device))
        network = train_value_prediction(
            batch,
            self.problem.space,
            seed=seed,
            device=device,
            progress=self.context.progress,
            terminal=self.config.episodes.terminal,
        )
        return network.embed

    def _write_ranking(self, folder: Path) -> None:
        table = [{"p": c.p, "step": c.step, "score": score} for c, score in self.ranking]
        store.write_atomic(folder / RANKING_FILE, json.dumps(table, indent=2).encode())
        tensors = {str(i): c.z.cpu().contiguous() for i, (c, _) in enumerate(self.ranking)}
        save_weights(folder / CANDIDATES_FILE, tensors)

    def _read_ranking(self, folder: Path) -> None:
        table = json.loads((folder / RANKING_FILE).read_text(encoding="utf-8"))
        tensors = load_weights(folder / CANDIDATES_FILE)
        self.ranking = [
            (Candidate(row["p"], row["step"], tensors[str(i)]), row["score"])
            for i, row in enumerate(table)
        ]


def _with_percent(config: PGSConfig, p: float) -> PGSConfig:
    """Return the settings with another percentile, and a folder of its own for checkpoints."""
    learner = config.learner
    if learner.checkpoints is not None:
        learner = replace(learner, checkpoints=str(Path(learner.checkpoints) / f"p{p:g}"))
    return replace(config, episodes=replace(config.episodes, p=p), learner=learner)
