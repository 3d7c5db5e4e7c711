"""Runs: one method on one task with one seed, scored and written to a folder."""

from mbo_gym.runs.one_run import RunRequest, RunResult, check_folder, run
from mbo_gym.runs.propose import ProposedTable, propose

__all__ = ["ProposedTable", "RunRequest", "RunResult", "check_folder", "propose", "run"]
