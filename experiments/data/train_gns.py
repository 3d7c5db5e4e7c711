"""Train the graph network simulator of water whose weights mbo_gym ships.

    python -m experiments.data.train_gns FOLDER [--steps N] [--unrolled N] [--groups N] [--seed N]
                                                [--output FILE]

FOLDER keeps the simulated scenes, metrics and the last checkpoint: the same command goes on from
there after Ctrl-C. With numba the scenes take a minute on one core, without it half an hour; they
are the same bit for bit. An update takes 40-60 ms on one core, and about four times that in the
second stage, which unrolls the network over four frames.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from mbo_gym.progress.bars import RichProgress
from mbo_gym.progress.loggers import JsonLinesLogger
from mbo_gym.surrogates.gns.network import SHIPPED, save_network
from mbo_gym.surrogates.gns.training import GNSTrainingConfig, StageConfig, train_gns


def of_length(stage: StageConfig, steps: int) -> StageConfig:
    """Return a stage of a number of updates."""
    return replace(stage, training=replace(stage.training, steps=steps))


def main() -> None:
    default = GNSTrainingConfig()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of scenes and checkpoints")
    parser.add_argument("--steps", type=int, default=default.single.training.steps)
    parser.add_argument("--unrolled", type=int, default=default.unrolled.training.steps)
    parser.add_argument("--groups", type=int, default=default.scenes.groups)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=SHIPPED, help="file of the weights")
    args = parser.parse_args()
    torch.set_num_threads(1)  # the network is too small for more
    config = replace(
        default,
        scenes=replace(default.scenes, groups=args.groups),
        single=of_length(default.single, args.steps),
        unrolled=of_length(default.unrolled, args.unrolled),
        seed=args.seed,
    )
    args.folder.mkdir(parents=True, exist_ok=True)
    logger = JsonLinesLogger(args.folder / "metrics.jsonl")
    with RichProgress([logger]) as progress:
        network = train_gns(config, args.folder, progress=progress)
    facts = {key: getattr(args, key) for key in ("steps", "unrolled", "seed", "groups")}
    save_network(network, args.output, **facts)
    print(f"wrote {args.output}, {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
