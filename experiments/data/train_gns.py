"""Train the graph network simulator of water whose weights mbo_gym ships.

    python -m experiments.data.train_gns FOLDER [--steps N] [--groups N] [--seed N] [--output FILE]

FOLDER keeps the simulated scenes, metrics and the last checkpoint: the same command goes on from
there after Ctrl-C. With numba the scenes take a minute on one core, without it half an hour; they
are the same bit for bit. An update takes 40-60 ms on one core.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from mbo_gym.progress.bars import RichProgress
from mbo_gym.progress.loggers import JsonLinesLogger
from mbo_gym.surrogates.gns.network import SHIPPED, save_network
from mbo_gym.surrogates.gns.scenes import ScenesConfig
from mbo_gym.surrogates.gns.training import GNSTrainingConfig, train_gns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of scenes and checkpoints")
    parser.add_argument("--steps", type=int, default=GNSTrainingConfig().training.steps)
    parser.add_argument("--groups", type=int, default=ScenesConfig().groups)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=SHIPPED, help="file of the weights")
    args = parser.parse_args()
    torch.set_num_threads(1)  # the network is too small for more
    default = GNSTrainingConfig()
    config = replace(
        default,
        scenes=replace(default.scenes, groups=args.groups),
        training=replace(default.training, steps=args.steps),
        seed=args.seed,
    )
    args.folder.mkdir(parents=True, exist_ok=True)
    logger = JsonLinesLogger(args.folder / "metrics.jsonl")
    with RichProgress([logger]) as progress:
        network = train_gns(config, args.folder, progress=progress)
    save_network(network, args.output, steps=args.steps, seed=args.seed, groups=args.groups)
    print(f"wrote {args.output}, {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
