"""Progress: what a method reports while it runs, on a terminal and in loggers."""

from mbo_gym.progress.bars import RichProgress
from mbo_gym.progress.protocol import NullProgress, Progress, SearchPoint
from mbo_gym.progress.quiet import is_quiet, quiet

__all__ = ["NullProgress", "Progress", "RichProgress", "SearchPoint", "is_quiet", "quiet"]
