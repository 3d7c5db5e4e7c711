"""Trajectories: sequences of visible designs that offline RL and trajectory generators learn
from."""

from mbo_gym.trajectories.actions import with_actions
from mbo_gym.trajectories.batch import TrajectoryBatch
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
    "local_improving",
    "random_top",
    "sorted_top",
    "top_rows_of_percentile",
    "with_actions",
]
