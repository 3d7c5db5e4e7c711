#!/usr/bin/env bash
# Runs all methods as they are by default on all tasks (hours on two cores) and writes the reports.
# It goes on where it stopped. Needs the extras rl, bo and search; Superconductor's and TFBind10's data from $MBO_GYM_DATA.
# PYTHON=.venv/bin/python chooses the Python that mbo-gym is installed in.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python}"
results=experiments/results

for grid in baselines baselines_pgs baselines_paper baselines_paper_levy baselines_paper_superconductor; do
    $python -m mbo_gym benchmark "experiments/$grid.toml" --output "$results/baselines"
done
$python -m mbo_gym benchmark experiments/baselines_tfbind10.toml --output "$results/baselines_data"
for folder in "$results/baselines" "$results/baselines_data"; do
    $python -m mbo_gym report "$folder" --html "$folder/report.html" --markdown "$folder/report.md"
done
$python experiments/readme_table.py "$results/baselines" TFBind8-Exact-v0 Levy-Exact-v0 Levy-Exact-v1 \
    Superconductor-RandomForest-v0 Superconductor-RandomForest-v1
