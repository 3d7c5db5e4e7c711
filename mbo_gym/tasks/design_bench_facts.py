"""Facts of the tasks that are made from Design-Bench's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mbo_gym.data.design_bench import LAYOUTS, Layout, layout_of
from mbo_gym.problem.task import TaskInfo
from mbo_gym.tasks import superconductor, synthetic, tfbind

__all__ = ["TASKS", "Facts", "design_bench_facts", "design_bench_info"]

_DESIGN_BENCH = "Trabucco et al., Design-Bench, ICML 2022, arXiv:2202.08450"
_VERSIONS = ("v0: the rows of Design-Bench's folder",)
_SOURCES = ("design_bench",)


@dataclass(frozen=True)
class Facts:
    """What the folder adds to a task.

    Args:
        layout: How the files look.
        info: Facts of the task.
        lost: Whether the papers' oracle cannot be had.
        min_percentile: Lower percentile of the full data's scores at which visible rows begin.
    """

    layout: Layout
    info: TaskInfo
    lost: bool = False
    min_percentile: float = 0.0


def _known(info: TaskInfo) -> Facts:
    """Return the facts of a task that mbo_gym can also make without the folder."""
    from_folder = replace(info, version_history=_VERSIONS, sources=_SOURCES)
    return Facts(LAYOUTS[info.task_id], from_folder)


def _lost(
    task_id: str,
    description: str,
    y_range: tuple[float, float],
    *,
    score_name: str,
    oracle: str,
    references: tuple[str, ...],
    percentiles: tuple[float, float] = (0.0, 50.0),
    space: str = "",
) -> Facts:
    """Return the facts of a task whose oracle cannot be had.

    Args:
        task_id: Id of the task.
        description: What is designed.
        y_range: Lowest and highest score of the full data, at full precision.
        score_name: What is measured, with its unit.
        oracle: Why there is no oracle.
        references: Papers, besides Design-Bench's.
        percentiles: Percentiles of the full data's scores between which rows are visible.
        space: The design space in a sentence; empty for reals without bounds.
    """
    layout = LAYOUTS[task_id]
    unbounded = f"{layout.width:,} real numbers; the files name no bounds, so there are none."
    low, high = percentiles
    split = f"Rows with scores at or below the {high:g}th percentile, in file order."
    if low:
        split = (
            f"Rows with scores between the {low:g}th and the {high:g}th percentile, in file order."
        )
    if high == 100:
        split = "All rows, in file order."
    info = TaskInfo(
        task_id=task_id,
        description=description,
        y_min=y_range[0],
        y_max=y_range[1],
        score_name=score_name,
        space=space or unbounded,
        split=split,
        oracle=oracle,
        licence="licence of the data not established; they do not ship",
        references=(*references, _DESIGN_BENCH),
        version_history=_VERSIONS,
        percentile=high,
        sources=_SOURCES,
    )
    return Facts(layout, info, lost=True, min_percentile=low)


_NO_SIMULATION = "The original simulation and its controller cannot be had, so there is none."

_ALL = (
    _known(tfbind.tfbind8_info()),
    _known(tfbind.tfbind10_info()),
    _known(superconductor.superconductor_info()),
    _lost(
        "AntMorphology-Exact-v0",
        "Leg positions, joint ranges and limb sizes of a four-legged robot that runs far.",
        (-386.9003601074219, 590.2444458007812),
        score_name="sum of rewards over 100 steps",
        oracle=_NO_SIMULATION,
        references=("Brockman et al., OpenAI Gym, arXiv:1606.01540",),
        percentiles=(0.0, 40.0),
    ),
    _lost(
        "DKittyMorphology-Exact-v0",
        "Leg positions, joint ranges and limb sizes of the D'Kitty robot that walks to a goal.",
        (-880.45849609375, 340.90985107421875),
        score_name="sum of rewards over 100 steps",
        oracle=_NO_SIMULATION,
        references=("Ahn et al., ROBEL, CoRL 2019, arXiv:1909.11639",),
        percentiles=(0.0, 40.0),
    ),
    _lost(
        "HopperController-Exact-v0",
        "The 5,126 weights of a neural network that makes a one-legged robot hop far.",
        (87.9349136352539, 1361.610595703125),
        score_name="return of one episode",
        oracle="The original simulator (mujoco-py) cannot be had, so there is none.",
        references=("Brockman et al., OpenAI Gym, arXiv:1606.01540",),
        percentiles=(0.0, 100.0),
    ),
    _known(synthetic.synthetic_info("Levy")),
    _known(synthetic.synthetic_info("Rastrigin")),
    _known(synthetic.synthetic_info("Rosenbrock")),
    _lost(
        "CIFARNAS-Exact-v0",
        "A neural network, written as 64 letters, that classifies CIFAR-10 well after a short "
        "training.",
        (59.29999923706055, 69.62999725341797),
        score_name="test accuracy (%)",
        oracle="The original one trained each network, with code that cannot be had, so there is "
        "none.",
        references=("Zoph and Le, Neural Architecture Search, ICLR 2017, arXiv:1611.01578",),
        space="64 sites; the files say how many letters.",
    ),
    _lost(
        "UTR-ResNet-v0",
        "Fifty bases before a gene (5' UTR) that load the gene's RNA with many ribosomes.",
        (0.0, 12.0),
        score_name="mean ribosome load",
        oracle="The original trained ResNet cannot be had, so there is none.",
        references=(
            "Sample et al., Nature Biotechnology 37 (2019), doi:10.1038/s41587-019-0164-5",
        ),
        space="50 sites of 4 letters (A C G T).",
    ),
    _lost(
        "GFP-Transformer-v0",
        "Variants of the green fluorescent protein (237 amino acids) that shine brightly.",
        (1.2834192514419556, 4.123108863830566),
        score_name="log fluorescence",
        oracle="The original trained Transformer cannot be had, so there is none.",
        references=(
            "Sarkisyan et al., Nature 533 (2016), doi:10.1038/nature17995",
            "Rao et al., TAPE, NeurIPS 2019",
        ),
        percentiles=(50.0, 60.0),
        space="237 sites of 20 letters, the amino acids.",
    ),
)

TASKS: Mapping[str, Facts] = {facts.info.task_id: facts for facts in _ALL}
"""Every data set of Design-Bench's folder, and DEMO's functions, by task id."""


def design_bench_facts(task_id: str) -> Facts:
    """Return what the folder adds to a task.

    Raises:
        UnknownId: `TASKS` has no such id.
    """
    layout_of(task_id)
    return TASKS[task_id]


def design_bench_info(name: str) -> TaskInfo:
    """Return the facts of a task that is made from the folder.

    Args:
        name: Id of `TASKS`.
    """
    return design_bench_facts(name).info
