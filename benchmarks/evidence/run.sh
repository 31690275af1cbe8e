#!/usr/bin/env bash
# What recording costs: the spool by writers beside the latency of a bare sync, and taking in, indexing, exporting and verifying entries, with the log in files and
# with the log in PostgreSQL (a server of its own, fsync on).
#   BENCH_SECONDS (3) each number of writers, BENCH_ENTRIES (200000), BENCH_POSTGRES_ENTRIES (100000), BENCH_DIRECTORY (the repository) where it writes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
results=benchmarks/results/evidence.md
work=$(mktemp -d -p "${BENCH_DIRECTORY:-$PWD}" .bench-evidence.XXXXXX)
server=$(mktemp -d /tmp/countersign-bench.XXXXXX)
cleanup() {
    ./eng/demo-postgres.sh stop "$server/postgres" > /dev/null 2>&1 || true
    rm -rf "$work" "$server"
}
trap cleanup EXIT
chmod 755 "$server"

for name in spool evidence; do
    dotnet build "benchmarks/$name" -c Release -v q -nologo > "$work/build" 2>&1 || { cat "$work/build" >&2; exit 1; }
done
bin=artifacts/bin
"$bin/Countersign.Benchmarks.Spool/release/Countersign.Benchmarks.Spool" "${BENCH_SECONDS:-3}" --directory "$work/spool" --ship | tee "$work/spool.txt" >&2
"$bin/Countersign.Benchmarks.Evidence/release/Countersign.Benchmarks.Evidence" "${BENCH_ENTRIES:-200000}" --directory "$work" | tee "$work/evidence.txt" >&2
DEMO_FSYNC=on ./eng/demo-postgres.sh start "$server/postgres" >&2
database="Host=127.0.0.1;Port=$(cat "$server/postgres/port");Username=postgres;Password=$(cat "$server/postgres/admin-password");Database=postgres;SSL Mode=Disable"
"$bin/Countersign.Benchmarks.Evidence/release/Countersign.Benchmarks.Evidence" "${BENCH_POSTGRES_ENTRIES:-100000}" --directory "$work" --postgres "$database" | tee "$work/postgres.txt" >&2

mkdir -p benchmarks/results
{
    echo "# evidence: what recording costs"
    echo
    echo "\`./bench.sh evidence\` on $(date -u +%F): $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(uname -r), .NET $(dotnet --version)."
    echo "A statement is its operation made durable and a completion; the shipper runs beside it. \`sync\` is one bare 512-byte write and sync on the same disk, just before."
    echo
    echo '```'
    cat "$work/spool.txt" "$work/evidence.txt"
    echo '```'
    echo
    echo "The same with log and index in PostgreSQL on this machine, fsync on. The processor's time is the recorder's; the server's comes beside it."
    echo
    echo '```'
    cat "$work/postgres.txt"
    echo '```'
} > "$results"

# writers N: X statements/s p50 Y us p99 Z us cpu C us/statement A B/statement sync p50 S p99 T us
awk '{ sub(":", "", $2); goal = $2 == 8 ? ">=35000" : "-"
       printf "spool-%s\t%s\t%s\tstatements/s\nspool-%s-p50\t%s\t-\tus\nspool-%s-sync-p50\t%s\t-\tus\n", $2, $3, goal, $2, $6, $2, $(NF - 3) }' "$work/spool.txt"
# WHAT RATE entries/s CPU us of processor an entry P % of a core at 20000 entries/s
figures() { # PREFIX GOALS FILE
    awk -v prefix="$1" -v goals="$2" '{ what = $1; i = 2; if (what == "take") { what = "take-in"; i = 3 }
       rate = $i; share = 0; for (n = i; n <= NF; n++) if ($n == "%") share = $(n - 1)
       printf prefix "%s\t%s\t%s\tentries/s\n" prefix "%s-share\t%s\t%s\t%% of a core at 20000 entries/s\n", what, rate, goals && what == "take-in" ? ">=20000" : "-", what, share, goals && what == "take-in" ? "<=25" : "-" }' "$3"
}
figures '' 1 "$work/evidence.txt"
figures postgres- '' "$work/postgres.txt"
