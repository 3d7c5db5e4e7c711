#!/usr/bin/env bash
# Run a suite of this folder again and print its report: reproduce.sh SUITE [options of mbo-gym benchmark].
# SUITE: core, pgs, diffusion, diffusion_data, baselines, baselines_data or matched; each takes hours on two cores.
# What is recorded already is not run again. Superconductor: mbo-gym data get superconductor, or
# $MBO_GYM_DATA; TFBind10: by hand. PYTHON=.venv/bin/python chooses the Python of the installation.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python}"
suite="${1:?name a suite: core, pgs, diffusion, diffusion_data, baselines, baselines_data or matched}"
shift
results="experiments/results/$suite"

$python -m mbo_gym benchmark "experiments/$suite.toml" --output "$results" "$@"
case "$suite" in
    pgs)
        $python -m experiments.studies osel --tasks TFBind8-Exact-v0,Levy-Exact-v1 --seeds 0-3 \
            --output "$results/osel.jsonl"
        $python -m experiments.benchmarks pgs_stages > experiments/results/benchmarks/pgs_stages.txt
        ;;
    diffusion)
        $python -m experiments.benchmarks diffusion > experiments/results/benchmarks/diffusion.txt
        $python -m experiments.studies gtg_diversity > "$results/diversity.txt"
        ;;
esac
$python -m mbo_gym results pack "$results"
$python -m mbo_gym report "$results"
