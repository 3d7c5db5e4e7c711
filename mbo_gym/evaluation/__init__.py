"""Evaluation: scores of proposals and of the controls beside them."""

from mbo_gym._moved import forwarded
from mbo_gym.evaluation.controls import known_controls
from mbo_gym.evaluation.scoring import QUANTILES, Evaluation, Summary, evaluate
from mbo_gym.evaluation.search import score_search

__all__ = ["QUANTILES", "Evaluation", "Summary", "evaluate", "known_controls", "score_search"]

__getattr__ = forwarded(__name__)  # names that have moved
