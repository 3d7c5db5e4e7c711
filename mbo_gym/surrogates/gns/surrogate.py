"""The surrogate of the fluid tasks: a learned simulator with shipped weights, calibrated."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.encoders.scaling import MinMax, ZScore
from mbo_gym.files import store
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import require_at_least
from mbo_gym.simulators.fluid.scene import Scene
from mbo_gym.simulators.fluid.scenes import SCENES
from mbo_gym.simulators.fluid.score import SCORED_FRAMES, share_at_goal
from mbo_gym.surrogates.base import (
    CannotFit,
    FitReport,
    Surrogate,
    held_out_report,
    hold_out,
    require_fitted,
)
from mbo_gym.surrogates.calls import count_gradients, count_rollouts
from mbo_gym.surrogates.gns.network import SHIPPED, FluidNetwork, load_network
from mbo_gym.tasks.fluid import fluid_scene, task_id_of

__all__ = ["GNSConfig", "GNSSurrogate", "learned_scores"]


@dataclass(frozen=True)
class GNSConfig:
    """Settings of the learned simulator as a surrogate.

    Args:
        weights: File of weights that ``python -m experiments.data.train_gns`` wrote; empty for
            those that the package ships.
        calibration_rows: Visible rows by which predictions are calibrated to scores.
        held_out_rows: Most rows of the report; each row costs an episode.
        held_out: Share of the rows that calibration leaves out, in [0, 1).
        chunk: Designs computed at once; memory grows with it.
    """

    weights: str = ""
    calibration_rows: int = 64
    held_out_rows: int = 64
    held_out: float = 0.1
    chunk: int = 16

    def __post_init__(self) -> None:
        require_at_least(self, 2, "calibration_rows")
        require_at_least(self, 0, "held_out_rows", "held_out")
        require_at_least(self, 1, "chunk")
        if self.held_out >= 1:
            raise ValueError(f"held_out is a share in [0, 1), got {self.held_out}")

    @property
    def path(self) -> Path:
        """The file of the weights."""
        return Path(self.weights) if self.weights else SHIPPED


@dataclass(frozen=True, eq=False)
class _Fit:
    """What predictions are made of.

    Args:
        scene: Scene whose tool a design describes.
        network: Learned simulator.
        shift: (D,) angles (rad) of features 0.
        scale: (D,) angles (rad) a feature.
        low: (D,) smallest angles.
        high: (D,) largest angles.
        offset: () standardised score of a share of 0.
        slope: () standardised scores a share of 1.
    """

    scene: Scene
    network: FluidNetwork
    shift: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor
    offset: Tensor
    slope: Tensor

    TENSORS: ClassVar[tuple[str, ...]] = ("shift", "scale", "low", "high", "offset", "slope")


class GNSSurrogate(Surrogate):
    """GNS: a graph network simulator as the score's model (Allen et al., 2022), for fluid tasks.

    Not trained on designs: its weights come from random scenes. `fit` only calibrates them.

    Algorithm, a prediction:
        1. decode the features to angles, and these to the tool's segments
        2. roll the learned simulator out over the episode
        3. share of the water at the goal over the last frames, as the oracle computes it
        4. standardised score = offset + slope * share; both by least squares on visible rows

    Differentiable in the features, but an episode is chaotic: the gradient is exact and yet rarely
    a direction of ascent. A prediction costs about 0.2 s on one core, a gradient 0.6 s: more than
    the simulator itself. Both are counted, see `mbo_gym.surrogates.calls`.

    Args:
        config: Settings.

    Example:
        >>> from mbo_gym.surrogates.registry import make_surrogate
        >>> surrogate = make_surrogate("gns", calibration_rows=32)
        >>> surrogate.kind, surrogate.config.calibration_rows
        ('gns', 32)

    References:
        Sanchez-Gonzalez et al. 2020, Learning to Simulate Complex Physics with Graph Networks,
        arXiv 2002.09405.
        Allen et al. 2022, Physical Design using Differentiable Learned Simulators,
        arXiv 2202.00728.
    """

    kind: ClassVar[str] = "gns"
    Config: ClassVar[type[GNSConfig]] = GNSConfig

    def __init__(self, config: GNSConfig | None = None) -> None:
        self.config = config or GNSConfig()
        self._scene: Scene | None = None
        self._encoder: Encoder | None = None
        self._fit: _Fit | None = None

    def for_problem(self, problem: OfflineProblem, encoder: Encoder) -> None:
        """Take over the scene of a fluid task, before `fit`.

        Raises:
            CannotFit: The problem is of no fluid task, or the encoder is none that scales angles.
        """
        self._scene = _scene_of(problem)
        if not isinstance(encoder, (ZScore, MinMax)):
            raise CannotFit(
                f"a 'gns' surrogate reads angles from features, got {type(encoder).__name__}. Pass "
                "encoder='z_score' or 'min_max'."
            )
        self._encoder = encoder

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Calibrate on features (N, d) and scores (N,); see `Surrogate.fit`.

        The report is of held-out rows, `held_out_rows` at most.

        Raises:
            CannotFit: `for_problem` was not called.
            MissingData: There is no file of weights.
        """
        if self._scene is None or self._encoder is None:
            raise CannotFit(
                "a 'gns' surrogate needs the scene of a fluid task beside features and scores. "
                "Fit it by mbo_gym.surrogates.fit_surrogate(problem, encoder, surrogate, seed=...)."
            )
        config, started = self.config, time.perf_counter()
        held, train = hold_out(len(z), config.held_out, torch.Generator(z.device).manual_seed(seed))
        held, train = held[: config.held_out_rows], train[: config.calibration_rows]
        network = load_network(config.path).to(z.device)
        one = torch.ones((), device=z.device)
        scaling = _scaling(self._encoder, z.device)
        self._fit = _Fit(self._scene, network, *scaling, offset=0 * one, slope=one)
        with torch.no_grad():
            chunks = torch.split(z[train], config.chunk)
            bar = (progress or NullProgress()).track(chunks, "calibrating gns")
            shares = torch.cat([self.predict(chunk) for chunk in bar])
        offset, slope = _least_squares(shares, y[train])
        self._fit = _Fit(self._scene, network, *scaling, offset=offset, slope=slope)
        self.report = held_out_report(
            self,
            z[held],
            y[held],
            n_train=len(train),
            steps=0,
            seconds=time.perf_counter() - started,
        )
        return self.report

    def predict(self, z: Tensor) -> Tensor:
        """Predict the standardised scores of features (B, d); (B,), differentiable in `z`."""
        fit = require_fitted(self._fit, self.kind)
        angles_rad = torch.minimum(torch.maximum(fit.shift + fit.scale * z, fit.low), fit.high)
        shares = learned_scores(fit.network, fit.scene, angles_rad, chunk=self.config.chunk)
        return fit.offset + fit.slope * shares

    def facts(self) -> dict[str, Any]:
        """Return the settings, the hash of the weights, and the scene with its goal."""
        scene = None if self._scene is None else asdict(self._scene)
        return {**asdict(self.config), "sha256": store.sha256(self.config.path), "scene": scene}

    def state(self) -> dict[str, Tensor]:
        """Return calibration, scaling, goal and the network's weights."""
        fit = require_fitted(self._fit, self.kind)
        goal = [*fit.scene.goal_m, fit.scene.sigma_m]
        name = torch.tensor(list(fit.scene.name.encode()), dtype=torch.uint8)
        found = {"scene": name, "goal_m": torch.tensor(goal, dtype=torch.float64)}
        found |= {key: getattr(fit, key) for key in _Fit.TENSORS}
        return found | {f"network.{key}": v for key, v in fit.network.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        scene = SCENES[bytes(state["scene"].tolist()).decode()]
        x_m, y_m, sigma_m = state["goal_m"].tolist()
        scene = scene.with_goal((x_m, y_m), sigma_m)
        if (n_angles := len(state["shift"])) != scene.tool.n_angles:
            scene = scene.with_links(n_angles)
        network = load_network(self.config.path).to(state["shift"].device)
        weights = {
            key.removeprefix("network."): value
            for key, value in state.items()
            if key.startswith("network.")
        }
        network.load_state_dict(weights)
        self._fit = _Fit(scene, network, **{key: state[key] for key in _Fit.TENSORS})


def learned_scores(
    network: FluidNetwork, scene: Scene, angles_rad: Tensor, *, chunk: int = 16
) -> Tensor:
    """Return the share of the water at the goal by a learned simulator, (B,); each is counted.

    Args:
        network: Learned simulator.
        scene: Scene with its goal.
        angles_rad: (B, n_angles) designs; differentiable.
        chunk: Designs computed at once.
    """
    physics = network.physics
    particles_m = torch.from_numpy(scene.particles(physics)).to(angles_rad)
    n_frames = scene.n_frames(physics)
    shares = []
    for part in torch.split(angles_rad, chunk):
        count_rollouts(len(part))
        segments_m = scene.segments(part)
        frames_m = network.rollout(particles_m, segments_m, n_frames, last=SCORED_FRAMES)
        shares.append(share_at_goal(frames_m, scene.goal_m, scene.sigma_m))
    scores = torch.cat(shares) if shares else angles_rad.new_empty(0)
    count_gradients(scores)
    return scores


def _scene_of(problem: OfflineProblem) -> Scene:
    """Return the scene of a fluid task's problem, with the options of the task.

    Raises:
        CannotFit: It is no problem of a fluid task.
    """
    scenes = {task_id_of(name).partition("-")[0]: name for name in SCENES}
    own = problem.task_id.partition("-")[0]  # a method may know no more of the id
    if own not in scenes or not isinstance(problem.space, ContinuousSpace):
        raise CannotFit(
            "a 'gns' surrogate simulates water around a tool, so it works on "
            f"{', '.join(map(task_id_of, SCENES))}; got {problem.task_id}. Take another "
            "surrogate, such as 'mlp'."
        )
    known = ("goal", "sigma", "n_angles")
    options = {key: problem.options[key] for key in known if key in problem.options}
    return fluid_scene(scenes[own], **options)


def _scaling(encoder: Encoder, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return shift, scale, low and high (D,) of ``x = clamp(shift + scale * z, low, high)``."""
    space = encoder.space
    assert isinstance(space, ContinuousSpace)  # what the two encoders take
    low, high = (torch.tensor(side, dtype=torch.float64) for side in (space.low, space.high))
    z_low, z_high = encoder.encode_tensor(torch.stack([low, high])).double()
    varies = z_high > z_low
    scale = torch.where(varies, (high - low) / (z_high - z_low).where(varies, low + 1), 0.0)
    constant = encoder.decode_tensor(torch.zeros(1, encoder.n_features))[0].double()
    shift = torch.where(varies, low - scale * z_low, constant)
    shift, scale, low, high = (t.to(device, torch.float32) for t in (shift, scale, low, high))
    return shift, scale, low, high


def _least_squares(shares: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return offset and slope () of the line from shares (N,) to scores (N,); slope 0 if flat."""
    centred = shares - shares.mean()
    spread = centred.square().sum()
    slope = (centred * y).sum() / spread.clamp_min(1e-12)
    return y.mean() - slope * shares.mean(), slope
