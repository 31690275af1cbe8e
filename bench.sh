#!/usr/bin/env bash
# Measures speed: ./bench.sh NAME runs the baselines and Countersign interleaved, prints NAME<TAB>VALUE<TAB>GOAL<TAB>UNIT a figure and writes
# benchmarks/results/NAME.md. Names: every folder of benchmarks/ that has a run.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
if [ $# -ne 1 ] || [ ! -x "benchmarks/${1:-}/run.sh" ]; then
    echo "usage: ./bench.sh NAME   ($(for run in benchmarks/*/run.sh; do basename "$(dirname "$run")"; done | tr '\n' ' '))" >&2
    exit 2
fi
exec "benchmarks/$1/run.sh"
