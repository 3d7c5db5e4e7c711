#!/usr/bin/env bash
# Runs the core benchmark (an hour on two cores), writes its report, and puts its table into the README.
# It goes on where it stopped. Superconductor's data: mbo-gym data get superconductor, or $MBO_GYM_DATA.
# PYTHON=.venv/bin/python chooses the Python that mbo-gym is installed in.
set -euo pipefail
cd "$(dirname "$0")/.."
run="${PYTHON:-python} -m mbo_gym"
results=experiments/results/core

$run benchmark experiments/core.toml --output "$results" "$@"
$run report "$results" --title "mbo_gym: core benchmark" --html "$results/report.html" --markdown "$results/report.md"
${PYTHON:-python} experiments/readme_table.py "$results"
