#!/usr/bin/env bash
# Runs what the results of policy-guided search rest on (hours on two cores) and writes the reports.
# It goes on where it stopped. Superconductor's data: mbo-gym data get superconductor, or $MBO_GYM_DATA.
# PYTHON=.venv/bin/python chooses the Python that mbo-gym is installed in.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python}"
results=experiments/results

for grid in pgs pgs_confirm pgs_schedule pgs_dimensions; do
    $python -m mbo_gym benchmark "experiments/$grid.toml" --output "$results/pgs"
done
$python -m mbo_gym report "$results/pgs" --html "$results/pgs/report.html" --markdown "$results/pgs/report.md"
$python experiments/osel_study.py --tasks TFBind8-Exact-v0,Levy-Exact-v1 --seeds 0-3 --output "$results/pgs/osel.jsonl"
$python experiments/benchmarks/pgs_stages.py > "$results/benchmarks/pgs_stages.txt"
$python experiments/readme_table.py "$results/pgs" TFBind8-Exact-v0 Levy-Exact-v1 Superconductor-RandomForest-v1
