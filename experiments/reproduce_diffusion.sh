#!/usr/bin/env bash
# Runs what the results of DDOM, DEMO and GTG rest on (hours on two cores) and writes the report.
# It goes on where it stopped. Superconductor's data: mbo-gym data get superconductor, or $MBO_GYM_DATA; TFBind10's: by hand.
# PYTHON=.venv/bin/python chooses the Python that mbo-gym is installed in.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python}"
results=experiments/results

for grid in diffusion diffusion_parts diffusion_released diffusion_released_categorical diffusion_more_parts diffusion_sweeps; do
    $python -m mbo_gym benchmark "experiments/$grid.toml" --output "$results/diffusion"
done
for grid in diffusion_sparse diffusion_tfbind10; do
    $python -m mbo_gym benchmark "experiments/$grid.toml" --output "$results/diffusion_data"
done
for folder in "$results/diffusion" "$results/diffusion_data"; do
    $python -m mbo_gym report "$folder" --html "$folder/report.html" --markdown "$folder/report.md"
done
$python experiments/benchmarks/diffusion.py > "$results/benchmarks/diffusion.txt"
$python experiments/benchmarks/gtg_diversity.py > "$results/diffusion/diversity.txt"
$python experiments/readme_table.py "$results/diffusion" TFBind8-Exact-v0 Levy-Exact-v1 Superconductor-RandomForest-v1
