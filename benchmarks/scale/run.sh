#!/usr/bin/env bash
# Many proxies and sessions on one control plane: real identity, policy, approval and recorder processes over one PostgreSQL, and a generator that says what proxies
# say. Steady state, then the worst moments: a policy change and a revocation to all, and each service away for ten seconds.
#   BENCH_PROXIES (1000), BENCH_SESSIONS (100000), BENCH_SECONDS (60) of steady state, BENCH_STATEMENTS (500) a second in all, BENCH_LOGINS (4000),
#   BENCH_CONNECTIONS (400) registered targets, BENCH_OLD (100000) credentials of the last month
#   BENCH_QUICK=1: a small run that only shows that it works; writes no results
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
proxies=${BENCH_PROXIES:-1000} sessions=${BENCH_SESSIONS:-100000} seconds=${BENCH_SECONDS:-60} statements=${BENCH_STATEMENTS:-500} logins=${BENCH_LOGINS:-4000}
connections=${BENCH_CONNECTIONS:-400} old=${BENCH_OLD:-100000}
results=benchmarks/results/scale.md
work=$(mktemp -d /tmp/countersign-bench.XXXXXX)
trap 'rm -rf "$work"' EXIT
if [ -n "${BENCH_QUICK:-}" ]; then proxies=20 sessions=400 seconds=5 statements=50 logins=100 connections=20 old=1000 results=$work/results.md; fi
# A socket for each proxy and service.
ulimit -n "$(ulimit -H -n)"
echo "Building" >&2
[ -n "${BENCH_BUILT:-}" ] || dotnet build benchmarks/scale -c Release -v q -nologo > "$work/build" 2>&1 || { cat "$work/build" >&2; exit 1; }
artifacts/bin/Countersign.Benchmarks.Scale/release/Countersign.Benchmarks.Scale "$work/page" "$proxies" "$sessions" "$seconds" "$statements" "$logins" "$connections" "$old" > "$work/figures"
{
    echo "# scale: $proxies proxies and $sessions sessions on one control plane"
    echo
    echo "\`./bench.sh scale\` on $(date -u +%F): $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(uname -r), .NET $(dotnet --version). Load of the machine when it ended: $(cut -d ' ' -f 1-3 /proc/loadavg)."
    echo "One process of each service, one PostgreSQL (fsync off), and the generator share the cores. Proxies call services at their own addresses; sidecars and the broker's fan-out are not simulated."
    echo
    cat "$work/page"
} > "$results"
cat "$work/figures"
