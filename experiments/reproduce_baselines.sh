#!/usr/bin/env bash
# Runs all methods as they are by default on all tasks (hours on two cores) and writes the report.
# It goes on where it stopped. Needs the extras rl, bo and search; Superconductor's and TFBind10's data from $MBO_GYM_DATA.
# PYTHON=.venv/bin/python chooses the Python that mbo-gym is installed in.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python}"
results=experiments/results

for grid in baselines baselines_tfbind10 baselines_pgs; do
    $python -m mbo_gym benchmark "experiments/$grid.toml" --output "$results/baselines"
done
$python -m mbo_gym report "$results/baselines" --html "$results/baselines/report.html" --markdown "$results/baselines/report.md"
