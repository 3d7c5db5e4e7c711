"""Online reinforcement learning through stable-baselines3: PPO, SAC and TD3 trained on the
environment.

The environment is the surrogate's: its reward is the improvement of the prediction, so no design is
measured and the methods are offline methods in the sense of this package, model-based ones in the
language of reinforcement learning.

Algorithm:
    1. Fit a surrogate f on the visible designs' features.
    2. Train a policy in episodes of T steps from the best visible designs, all environments stepped
       as one tensor: reward f(z') - f(z), transition as in `mbo_gym.envs.dynamics`.
    3. From the K best visible designs take T steps of the deterministic policy.
    4. Return the ends, the highest prediction f(z) first.

``reward="oracle"`` trains on the *true* score instead, and every design visited is an oracle call:
an upper bound for what the same agent learns offline, not an offline method. The calls stand in the
run's record and in the report. The search and the order of the proposals are the surrogate's there
too.

The agents are those of the papers as stable-baselines3 has them: PPO (Schulman et al. 2017, arXiv
1707.06347), SAC (Haarnoja et al. 2018, arXiv 1801.01290), TD3 (Fujimoto et al. 2018, arXiv
1802.09477). Differs from its defaults: many environments at once, a replay buffer that forgets
nothing, the network width of `hidden`, and a fixed weight of SAC's
entropy: the learned one starts at 1, where a step earns about 0.1, and falls too slowly for a
training this short.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from agents.online.configs import OffPolicyConfig, PPOConfig, SACConfig, TD3Config
from agents.rl.learner import third_party_seed
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import transition
from mbo_gym.envs.process import DesignProcess
from mbo_gym.envs.vector_env import DesignVectorEnv
from mbo_gym.files.weights import save_weights
from mbo_gym.methods.ascent import SearchWatch, best_first, start_features
from mbo_gym.methods.base import Resources, save_config
from mbo_gym.optional import optional_import
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.surrogates.base import Surrogate, predict_in_pieces
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.registry import make_surrogate
from mbo_gym.tasks.registry import make_task

__all__ = ["PPO", "SAC", "TD3", "OnlineAgent"]


class OnlineAgent:
    """What the three agents share: everything but their settings; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]]
    PRESETS: ClassVar[Mapping[str, Any]] = {}
    SETTINGS: ClassVar[Mapping[str, Any]] = {}
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=2.0)
    algorithm: ClassVar[str]
    criterion: np.ndarray
    _surrogate: Surrogate

    def __init__(self, config: Any = None) -> None:
        self.config = config or self.Config()

    def fit(self, problem: OfflineProblem, *, seed: int, device: str, progress: Progress) -> None:
        """Fit the surrogate and train the policy on its environment.

        Raises:
            MissingDependency: stable-baselines3 is not installed.
            MissingData: ``reward="oracle"``, and the task of that id and these options has no
                oracle.
        """
        optional_import(
            "stable_baselines3", "rl"
        )  # a missing library shows now, not after the surrogate's fit
        config = self.config
        self._problem, self._seed, self._progress = problem, seed, progress
        # A problem holds no way to an oracle: the task is made anew, in plain sight, where the
        # upper bound is wanted.
        task = (
            make_task(problem.task_id, **problem.options) if config.reward == "oracle" else problem
        )
        encoder = make_encoder(problem, config.encoder, device=device, progress=progress)
        surrogate = make_surrogate(config.surrogate)
        self._surrogate = fit_surrogate(
            problem, encoder, surrogate, seed=seed, device=device, progress=progress
        )
        env = DesignVectorEnv(
            config.n_envs,
            device,
            task=task,
            surrogate=self._surrogate,
            encoder=config.encoder,
            reward=config.reward,
            action_mode=config.action_mode,
            action_scale=config.action_scale,
            horizon=config.horizon,
            n_starts=config.n_starts,
        )
        self._process: DesignProcess = env.process
        self._policy = self._train(env, seed, progress)

    def propose(self, k: int) -> np.ndarray:
        """Search from the `k` best visible designs; return the ends, the highest prediction
        first."""
        config, process = self.config, self._process
        generator = torch.Generator().manual_seed(self._seed)
        z = start_features(self._problem, process.encoder, k, generator).to(process.device)
        bounds = process.bounds if config.bounds == "data" else None
        steps = config.horizon if config.search_steps is None else config.search_steps
        watch = SearchWatch(self._problem, process.encoder, "search", steps, self._progress)
        for step in self._progress.track(range(steps), f"search with {self.algorithm}"):
            value, gradient = self._surrogate.value_and_gradient(z)
            watch(step, z, value)
            along = gradient if config.action_mode == "step_vector" else None
            z = transition(z, self._actions(z), along, process.scale, bounds)
        watch(steps, z, predict_in_pieces(self._surrogate.predict, z))
        best, self.criterion = best_first(self._surrogate, z, k)
        return process.encoder.decode(best.cpu().numpy())

    def save(self, folder: Path) -> None:
        """Write the settings, the surrogate and the policy's weights.

        The weights are what ``policy.load_state_dict(safetensors.torch.load_file(path))`` takes for
        the policy of a stable-baselines3 model of this kind with ``policy_kwargs={"net_arch":
        [hidden, hidden]}``.
        """
        save_config(folder, self.config)
        self._surrogate.save(folder / "surrogate.safetensors")
        save_weights(folder / "policy.safetensors", self._policy.state_dict())

    def _settings(self) -> dict[str, Any]:
        """Return the arguments that only this agent's class in stable-baselines3 has; a subclass
        writes this."""
        raise NotImplementedError

    def _train(self, env: DesignVectorEnv, seed: int, progress: Progress) -> Any:
        """Return the policy of stable-baselines3 that was trained on `env`; global random states
        are as they were."""
        from agents.online.env import DesignVecEnv, ProgressCallback, ProgressWriter

        config, sb3 = self.config, optional_import("stable_baselines3", "rl")
        with third_party_seed(seed):
            agent = getattr(sb3, self.algorithm)(
                "MlpPolicy",
                sb3.common.vec_env.VecMonitor(DesignVecEnv(env)),
                learning_rate=config.learning_rate,
                batch_size=config.batch_size,
                gamma=config.discount,
                policy_kwargs={"net_arch": [config.hidden, config.hidden]},
                seed=seed % 2**32,
                device=str(env.device),
                **self._settings(),
            )
            # A logger of our own: the library's would make a folder.
            agent.set_logger(
                sb3.common.logger.Logger(folder=None, output_formats=[ProgressWriter(progress)])
            )
            callback = ProgressCallback(progress, f"training {self.algorithm}", config.train_steps)
            # Counted in rounds by PPO, in episodes by the others: theirs end together, one in each
            # environment.
            log_interval = config.n_envs if isinstance(config, OffPolicyConfig) else 1
            agent.learn(config.train_steps, callback=callback, log_interval=log_interval)
        return agent.policy

    def _actions(self, z: Tensor) -> Tensor:
        """Return the policy's deterministic actions (B, d) for features (B, d), on their device."""
        actions, _ = self._policy.predict(z.cpu().numpy(), deterministic=True)
        return torch.from_numpy(actions).to(z.device)


class PPO(OnlineAgent):
    """Proximal policy optimisation on the surrogate's environment; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = PPOConfig
    algorithm: ClassVar[str] = "PPO"

    def _settings(self) -> dict[str, Any]:
        config = self.config
        return {
            "n_steps": config.horizon,
            "n_epochs": config.epochs,
            "clip_range": config.clip_range,
            "ent_coef": config.entropy_weight,
        }


class SAC(OnlineAgent):
    """Soft actor-critic on the surrogate's environment; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = SACConfig
    algorithm: ClassVar[str] = "SAC"

    def _settings(self) -> dict[str, Any]:
        return {**_off_policy_settings(self.config), "ent_coef": self.config.entropy_weight}


class TD3(OnlineAgent):
    """Twin delayed deep deterministic policy gradient on the surrogate's environment; see the
    module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = TD3Config
    algorithm: ClassVar[str] = "TD3"

    def _settings(self) -> dict[str, Any]:
        d = self._process.encoder.n_features
        noise = optional_import("stable_baselines3.common.noise", "rl")
        spread = np.full(d, self.config.exploration_noise)
        return {
            **_off_policy_settings(self.config),
            "action_noise": noise.NormalActionNoise(np.zeros(d), spread),
        }


def _off_policy_settings(config: OffPolicyConfig) -> dict[str, Any]:
    return {
        "buffer_size": max(config.train_steps, config.n_envs),
        "learning_starts": config.batch_size,
        "train_freq": 1,
        "gradient_steps": config.updates,
        "tau": config.tau,
    }
