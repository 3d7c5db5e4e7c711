"""Cost of methods, as recorded in the benchmark of this repository."""

from __future__ import annotations

__all__ = ["RECORDED_SECONDS", "cost_in_words"]

RECORDED_SECONDS = {
    "autofocused_cbas": 55,
    "bdi": 19,
    "bo_qei": 61,
    "cbas": 31,
    "cma_es": 82,
    "coms": 52,
    "ddom": 24,
    "demo": 82,
    "grad": 7.6,
    "grad [adam]": 8.2,
    "grad [boxed]": 8.6,
    "grad_mean": 7.7,
    "grad_mean [boxed]": 8.2,
    "grad_min": 8.5,
    "grad_min [boxed]": 8.3,
    "gtg": 120,
    "ict": 120,
    "iom": 30,
    "kernel_crossover": 24,
    "linear_corner": 0.8,
    "matched": 59,
    "mean_design": 0.078,
    "mins": 53,
    "nemo": 28,
    "pair_ridge": 3.4,
    "pgs": 160,
    "pgs [ensemble]": 22,
    "ram_listnet": 9,
    "ram_rankcosine": 9.6,
    "random": 0.079,
    "random_filtered": 8.8,
    "random_unseen": 0.32,
    "reinforce": 10,
    "roma": 36,
    "top_k": 0.11,
    "top_k_noise": 0.11,
    "trend": 0.71,
    "tri_mentoring": 120,
}
"""Median seconds of a run (fit, propose 256 designs, score) on one core, over five tasks and all
seeds of ``experiments/results/baselines``. ``method [preset]`` is a method with a preset."""


def cost_in_words(name: str) -> str:
    """Return the recorded cost of a method, e.g. ``8 s``; empty where none is recorded."""
    seconds = RECORDED_SECONDS.get(name)
    if seconds is None:
        return ""
    return "under 1 s" if seconds < 1 else f"{seconds:g} s"
