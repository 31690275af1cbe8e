#!/usr/bin/env bash
# Approvals: from the decision to the statement's arrival at the target through the whole standalone host, with 1 and with 1,000 pending requests; and the
# memory of 100,000 pending requests on one host.
#   BENCH_SAMPLES (200) statements for each, BENCH_PENDING (100000) requests in memory, BENCH_DIRECTORY (/dev/shm) where those are kept
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=eng/demo.sh
. eng/demo.sh

samples=${BENCH_SAMPLES:-200}
pending=${BENCH_PENDING:-100000}
work=$(mktemp -d /tmp/countersign-bench.XXXXXX)
memory=$(mktemp -d -p "${BENCH_DIRECTORY:-/dev/shm}" countersign-bench.XXXXXX)
chmod 755 "$work"
results=benchmarks/results/approval.md
bench=artifacts/bin/Countersign.Benchmarks.Approval/release/Countersign.Benchmarks.Approval

cleanup() {
    demo_stop || true
    rm -rf "$work" "$memory"
}
trap cleanup EXIT

echo "Building" >&2
dotnet build benchmarks/approval -c Release -v q -nologo > "$work/build" 2>&1 || { cat "$work/build" >&2; exit 1; }
demo_build >&2

echo "Opening $pending requests" >&2
"$bench" seed "$memory/approval.db" "$pending" | tee "$work/seed" >&2
"$bench" load "$memory/none.db" | tee "$work/empty" >&2
"$bench" load "$memory/approval.db" | tee "$work/full" >&2
rm -rf "$memory"

echo "Starting PostgreSQL (fsync on) and Countersign" >&2
export DEMO_FSYNC=on
demo_start "$work" policies/starter >&2
direct="Host=127.0.0.1;Port=$(cat "$work/postgres/port");Username=shop_app;Password=$(cat "$work/postgres/app-password");Database=shop;SSL Mode=Disable"
psql=$(compgen -G '/usr/lib/postgresql/*/bin/psql' | sort -V | tail -n 1)
PGPASSWORD=$(cat "$work/postgres/app-password") PGSSLMODE=disable "$psql" -q -h 127.0.0.1 -p "$(cat "$work/postgres/port")" -U shop_app shop \
    -c 'CREATE TABLE arrivals (run text, number int, at timestamptz DEFAULT clock_timestamp())' >&2
demo_credential alice > "$work/credential"
user=$(sed -n 1p "$work/credential")
secret=$(sed -n 2p "$work/credential")
refresh=$(find "$work/cli/bob" -name refresh-token | head -n 1)
[ -n "$refresh" ] || demo_fail "bob is not logged in"

latency() { "$bench" latency "http://127.0.0.1:$DEMO_HTTP_PORT/" "$DEMO_GATEWAY_PORT" "$user" "$secret" "$refresh" "$direct" "$samples"; }
latency | tee "$work/one" >&2
# Not killed: the proxy seals what it has recorded.
kill "$DEMO_HOST_PID" && wait "$DEMO_HOST_PID" 2> /dev/null || true
"$bench" seed "$work/data/state/approval.db" 1000 "$work/data/keys/approval.key" >&2
demo_host_start
latency | tee "$work/thousand" >&2

managed=$(awk 'NR == FNR { empty = $5; next } { printf "%.0f", ($5 - empty) / $2 }' "$work/empty" "$work/full")
resident=$(awk 'NR == FNR { empty = $8; next } { printf "%.0f", ($8 - empty) / $2 }' "$work/empty" "$work/full")
mkdir -p benchmarks/results
{
    echo "# approval: from a decision to the target, and what waits in memory"
    echo
    echo "\`./bench.sh approval\` on $(date -u +%F): $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(uname -r), .NET $(dotnet --version). Load of the machine when it ended: $(cut -d ' ' -f 1-3 /proc/loadavg)."
    echo "A statement is held by the standalone host; bob approves it; it runs under a redeemed grant and a durable, acknowledged record. Both clocks are the machine's."
    echo
    echo "| pending beside it | statements | decision to target, median | p99 | approve call to target, median | p99 |"
    echo "| --- | --- | --- | --- | --- | --- |"
    awk '{ printf "| 1 | %s | %s ms | %s ms | %s ms | %s ms |\n", $2, $4, $6, $10, $12 }' "$work/one"
    awk '{ printf "| 1,000 | %s | %s ms | %s ms | %s ms | %s ms |\n", $2, $4, $6, $10, $12 }' "$work/thousand"
    echo
    echo "$pending pending requests on one host, opened through the grains at $(awk '{ print $3 }' "$work/seed") requests/s, on $(df --output=fstype "${BENCH_DIRECTORY:-/dev/shm}" | tail -n 1):"
    echo
    echo "| | managed | resident |"
    echo "| --- | --- | --- |"
    awk '{ printf "| a request, in the process that opened them | %s B | %s B |\n", $5, $8 }' "$work/seed"
    echo "| a request, in a process started on them | $managed B | $resident B |"
    echo
    echo "It started in $(awk '{ print $3 }' "$work/full") s. What is counted is everything: index, grains, wake-ups; documents are in the store."
} > "$results"
awk '{ printf "decision-1-p50\t%s\t-\tms\ndecision-1-p99\t%s\t-\tms\n", $4, $6 }' "$work/one"
awk '{ printf "decision-1000-p50\t%s\t-\tms\ndecision-1000-p99\t%s\t<=50\tms\n", $4, $6 }' "$work/thousand"
awk '{ printf "pending-opened\t%s\t<=8192\tB a request\n", $5 }' "$work/seed"
printf 'pending-loaded\t%s\t<=8192\tB a request\npending-loaded-resident\t%s\t<=8192\tB a request\n' "$managed" "$resident"
