#!/usr/bin/env bash
# Runs what the results of DDOM, DEMO and GTG rest on (hours on two cores) and writes the report.
# It goes on where it stopped. Superconductor's data: mbo-gym data get superconductor, or $MBO_GYM_DATA.
# PYTHON=.venv/bin/python chooses the Python that mbo-gym is installed in.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python}"
results=experiments/results

for grid in diffusion diffusion_parts; do
    $python -m mbo_gym benchmark "experiments/$grid.toml" --output "$results/diffusion"
done
$python -m mbo_gym report "$results/diffusion" --html "$results/diffusion/report.html" --markdown "$results/diffusion/report.md"
$python experiments/benchmarks/diffusion.py > "$results/benchmarks/diffusion.txt"
