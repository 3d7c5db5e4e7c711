"""Train the graph network simulator of water whose weights mbo_gym ships.

    python -m experiments.data.train_gns FOLDER [--steps N ...] [--groups N] [--seed N]
                                                [--output FILE]

FOLDER keeps the simulated scenes, metrics and the last checkpoint: the same command goes on from
there after Ctrl-C. With numba the scenes take a minute on one core, without it half an hour; they
are the same bit for bit. An update takes 40-60 ms of one core for each frame that it looks ahead:
one in the first stage, then four, then eight.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from mbo_gym.progress.bars import RichProgress
from mbo_gym.progress.loggers import JsonLinesLogger
from mbo_gym.surrogates.gns.network import SHIPPED, save_network
from mbo_gym.surrogates.gns.training import GNSTrainingConfig, train_gns


def main() -> None:
    default = GNSTrainingConfig()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of scenes and checkpoints")
    lengths = [stage.training.steps for stage in default.stages]
    parser.add_argument("--steps", type=int, nargs="+", default=lengths, help="of each stage")
    parser.add_argument("--groups", type=int, default=default.scenes.groups)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=SHIPPED, help="file of the weights")
    args = parser.parse_args()
    if len(args.steps) != len(lengths):
        parser.error(f"--steps takes {len(lengths)} numbers, one for each stage, got {args.steps}")
    torch.set_num_threads(1)  # the network is too small for more
    config = replace(
        default,
        scenes=replace(default.scenes, groups=args.groups),
        stages=tuple(
            replace(stage, training=replace(stage.training, steps=steps))
            for stage, steps in zip(default.stages, args.steps, strict=True)
        ),
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
