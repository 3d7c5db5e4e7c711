"""Fixtures of the benchmark's tests for those of its commands."""

from __future__ import annotations

from tests.mbo_gym.benchmark.conftest import odd_methods, odd_package

__all__ = ["odd_methods", "odd_package"]
