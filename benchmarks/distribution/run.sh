#!/usr/bin/env bash
# The five services as processes of their own: two proxies against one, a policy change to the last proxy, an approval to the forwarded statement. Over daprd
# where DAPR_BIN or PATH has it, else over the sidecar double of the tests.
#   BENCH_ROUNDS (5) of BENCH_SECONDS (6) each for one proxy and two, BENCH_CHANGES (40) of the policies, BENCH_SAMPLES (200) statements that are held
#   BENCH_QUICK=1: a run of seconds that only shows that it works; writes no results
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rounds=${BENCH_ROUNDS:-5} seconds=${BENCH_SECONDS:-6} changes=${BENCH_CHANGES:-40} samples=${BENCH_SAMPLES:-200}
results=benchmarks/results/distribution.md
work=$(mktemp -d /tmp/countersign-bench.XXXXXX)
trap 'rm -rf "$work"' EXIT
if [ -n "${BENCH_QUICK:-}" ]; then rounds=1 seconds=4 changes=3 samples=5 results=$work/results.md; fi

declare -a cluster=()
daprd=${DAPR_BIN:+$DAPR_BIN/daprd}
if [ -x "${daprd:-$(command -v daprd || true)}" ]; then
    chmod 755 "$work"
    cluster=("$PWD/cluster.sh" "$work/cluster" "${BENCH_PORT_BASE:-27100}")
fi
echo "Building" >&2
dotnet build benchmarks/distribution -c Release -v q -nologo > "$work/build" 2>&1 || { cat "$work/build" >&2; exit 1; }
artifacts/bin/Countersign.Benchmarks.Distribution/release/Countersign.Benchmarks.Distribution "$work/page" "$rounds" "$seconds" "$changes" "$samples" "${cluster[@]}" > "$work/figures"
{
    echo "# distribution: services apart"
    echo
    echo "\`./bench.sh distribution\` on $(date -u +%F): $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(uname -r), .NET $(dotnet --version). Load of the machine when it ended: $(cut -d ' ' -f 1-3 /proc/loadavg)."
    cat "$work/page"
} > "$results"
cat "$work/figures"
