"""Trajectories: sequences of designs, as data for offline RL and generators."""

from mbo_gym._moved import forwarded
from mbo_gym.trajectories.actions import with_actions
from mbo_gym.trajectories.batch import TrajectoryBatch
from mbo_gym.trajectories.recipe import TrajectoryRecipe, TrajectoryReward, make_trajectories
from mbo_gym.trajectories.rollouts import random_rollouts
from mbo_gym.trajectories.samplers import (
    SAMPLERS,
    Distance,
    local_improving,
    random_top,
    sorted_top,
    top_rows_of_percentile,
)

__all__ = [
    "SAMPLERS",
    "Distance",
    "TrajectoryBatch",
    "TrajectoryRecipe",
    "TrajectoryReward",
    "local_improving",
    "make_trajectories",
    "random_rollouts",
    "random_top",
    "sorted_top",
    "top_rows_of_percentile",
    "with_actions",
]

__getattr__ = forwarded(__name__)  # names that have moved
