"""How conditional generators weigh designs by their scores."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["score_weights"]


def score_weights(y: Tensor, *, bins: int = 20, temperature: float | None = None) -> Tensor:
    """Weigh designs by their scores, as conditional generators do; (N,).

    MINs (arXiv 1912.13464) and DDOM (arXiv 2306.07180, section 3.2) weigh so.

    The scores are cut into equal bins. A bin of share h of the rows, whose upper edge is e, has the
    probability proportional to exp(e / tau) h / (h + 1e-3), and each of its rows that probability
    over h, at most 5.

    Args:
        y: (N,) scores.
        bins: Number of bins.
        temperature: tau, in the unit of the scores, above 0; None for DDOM's, the size of the 90th
            percentile of y - max y, at least .001.
    """
    edges = torch.linspace(float(y.min()), float(y.max()), bins + 1, device=y.device)
    which = torch.bucketize(y, edges[1:-1], right=True)
    share = torch.bincount(which, minlength=bins) / len(y)
    if temperature is None:
        temperature = max(1e-3, float(torch.quantile((y - y.max()).double(), 0.9).abs()))
    probability = torch.softmax(edges[1:] / temperature, dim=0) * share / (share + 1e-3)
    probability = probability / probability.sum()
    return (probability / (share + 1e-7)).clamp(0, 5)[which].to(y)
