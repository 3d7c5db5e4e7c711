"""What is known of each data set in Design-Bench's folder: `TASKS`, the table that `design_bench`
builds from."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from mbo_gym.data import manifest, superconductor, tfbind
from mbo_gym.data.design_bench import Facts, read_folder
from mbo_gym.errors import UnknownId
from mbo_gym.tasks import synthetic

__all__ = ["TASKS", "design_bench_facts", "read_arrays"]


def _function(name: str) -> Facts:
    y_min, y_max = synthetic.FUNCTIONS[name].range_60d
    words = (
        f"Minimise the 60-dimensional {name} function, seeing the worse half of uniform samples."
    )
    paper = ("Yuan et al., DEMO, arXiv:2405.13964",)
    return Facts(
        name.lower(),
        60,
        y_min,
        y_max,
        words,
        f"minus the {name} function",
        "Exact: the function.",
        references=paper,
    )


TASKS: Mapping[str, Facts] = {
    "TFBind8-Exact-v0": Facts(
        stem="tf_bind_8",
        width=8,
        y_min=0.0,
        y_max=1.0,
        description="Eight bases of DNA that bind the human transcription factor SIX6 REF R1.",
        score_name="E-score, scaled to [0, 1]",
        oracle="Exact: the complete table of measurements.",
        references=("Barrera et al., Science 351 (2016), doi:10.1126/science.aad2257",),
        discrete=True,
        n_categories=4,
        letters=tfbind.BASES,
        folders=("tf_bind_8-SIX6_REF_R1",),
        licence=manifest.entry("tfbind8_six6_ref_r1").licence,
    ),
    "TFBind10-Exact-v0": Facts(
        stem="tf_bind_10",
        width=10,
        y_min=tfbind.TFBIND10_RANGE[0][0],
        y_max=tfbind.TFBIND10_RANGE[0][1],
        description="Ten bases of DNA that bind the yeast factor Pho4.",
        score_name="ddG (kcal/mol)",
        oracle="Exact table, the last of 5 to 8 measurements.",
        discrete=True,
        n_categories=4,
        letters=tfbind.BASES,
        folders=("tf_bind_10-pho4",),
    ),
    "Superconductor-RandomForest-v0": Facts(
        stem="superconductor",
        width=86,
        y_min=superconductor.KELVIN_RANGE[0],
        y_max=superconductor.KELVIN_RANGE[1],
        description="The amounts of 86 elements in a material with a high critical temperature.",
        score_name="critical temperature (K)",
        oracle="A random forest.",
        licence=manifest.entry("superconductor").licence,
        percentiles=(0.0, 80.0),
    ),
    "AntMorphology-Exact-v0": Facts(
        stem="ant_morphology",
        width=60,
        y_min=-386.9003601074219,
        y_max=590.2444458007812,
        description="Leg positions, joint ranges and limb sizes of a four-legged robot that runs far.",
        score_name="sum of rewards over 100 steps",
        oracle="The original simulation and its controller cannot be had, so there is none.",
        lost=True,
        references=("Brockman et al., OpenAI Gym, arXiv:1606.01540",),
        percentiles=(0.0, 40.0),
    ),
    "DKittyMorphology-Exact-v0": Facts(
        stem="dkitty_morphology",
        width=56,
        y_min=-880.45849609375,
        y_max=340.90985107421875,
        description="Leg positions, joint ranges and limb sizes of the D'Kitty robot that walks to a goal.",
        score_name="sum of rewards over 100 steps",
        oracle="The original simulation and its controller cannot be had, so there is none.",
        lost=True,
        references=("Ahn et al., ROBEL, CoRL 2019, arXiv:1909.11639",),
        percentiles=(0.0, 40.0),
    ),
    "HopperController-Exact-v0": Facts(
        stem="hopper_controller",
        width=5126,
        y_min=87.9349136352539,
        y_max=1361.610595703125,
        description="The 5,126 weights of a neural network that makes a one-legged robot hop far.",
        score_name="return of one episode",
        oracle="The original simulator (mujoco-py) cannot be had, so there is none.",
        lost=True,
        references=("Brockman et al., OpenAI Gym, arXiv:1606.01540",),
        percentiles=(0.0, 100.0),
    ),
    "Levy-Exact-v0": _function("Levy"),
    "Rastrigin-Exact-v0": _function("Rastrigin"),
    "Rosenbrock-Exact-v0": _function("Rosenbrock"),
    "CIFARNAS-Exact-v0": Facts(
        stem="cifar_nas",
        width=64,
        y_min=59.29999923706055,
        y_max=69.62999725341797,
        description="A neural network, written as 64 letters, that classifies CIFAR-10 well after a short training.",
        score_name="test accuracy (%)",
        oracle="The original one trained each network, with code that cannot be had, so there is none.",
        lost=True,
        references=("Zoph and Le, Neural Architecture Search, ICLR 2017, arXiv:1611.01578",),
        discrete=True,
    ),
    "UTR-ResNet-v0": Facts(
        stem="utr",
        width=50,
        y_min=0.0,
        y_max=12.0,
        description="Fifty bases before a gene (5' UTR) that load the gene's RNA with many ribosomes.",
        score_name="mean ribosome load",
        oracle="The original trained ResNet cannot be had, so there is none.",
        lost=True,
        references=(
            "Sample et al., Nature Biotechnology 37 (2019), doi:10.1038/s41587-019-0164-5",
        ),
        discrete=True,
        n_categories=4,
        letters=tfbind.BASES,
    ),
    "GFP-Transformer-v0": Facts(
        stem="gfp",
        width=237,
        y_min=1.2834192514419556,
        y_max=4.123108863830566,
        description="Variants of the green fluorescent protein (237 amino acids) that shine brightly.",
        score_name="log fluorescence",
        oracle="The original trained Transformer cannot be had, so there is none.",
        lost=True,
        references=(
            "Sarkisyan et al., Nature 533 (2016), doi:10.1038/nature17995",
            "Rao et al., TAPE, NeurIPS 2019",
        ),
        discrete=True,
        n_categories=20,
        percentiles=(50.0, 60.0),
    ),
}
"""Every data set of Design-Bench's folder (and DEMO's functions) by task id; published constants at
full precision."""


def design_bench_facts(task_id: str) -> Facts:
    """Return the facts of a data set.

    Raises:
        UnknownId: `TASKS` has no such id.
    """
    if task_id not in TASKS:
        raise UnknownId("Design-Bench task", task_id, TASKS)
    return TASKS[task_id]


def read_arrays(
    task_id: str, folder: str | os.PathLike[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read all rows of a data set, visible and hidden, in file order.

    Args:
        task_id: A task id of `TASKS`.
        folder: Design-Bench's data folder; None looks for it, see `design_bench_folder`.

    Returns:
        x: (N, L) int32 letters, or (N, d) float32.
        y: (N,) float32 raw scores as the files have them.

    Raises:
        UnknownId: `TASKS` has no such id.
        MissingData: The folder or a file of it is missing, damaged or not of this task.
    """
    return read_folder(task_id, design_bench_facts(task_id), folder)
