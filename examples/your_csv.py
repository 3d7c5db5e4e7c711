"""The next designs for your table: python examples/your_csv.py my.csv yield."""

from pathlib import Path

import typer

import mbo_gym


def main(
    table: Path,
    score: str,
    method: str = "grad_mean",
    k: int = 128,
    minimise: bool = False,
    output: Path = Path("next.csv"),
) -> None:
    """Read a table of designs and scores; write the next designs to measure, best first."""
    proposals = mbo_gym.propose(table, score=score, method=method, k=k, minimise=minimise)
    print(proposals)
    print(f"{len(proposals)} designs in {proposals.to_csv(output)}")


if __name__ == "__main__":
    typer.run(main)
