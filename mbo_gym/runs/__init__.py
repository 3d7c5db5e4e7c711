"""Runs: one method on one task with one seed, scored and written to a folder."""

from mbo_gym.runs.one_run import RunRequest, RunResult, check_folder, run

__all__ = ["RunRequest", "RunResult", "check_folder", "run"]
