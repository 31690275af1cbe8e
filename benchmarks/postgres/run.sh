#!/usr/bin/env bash
# The whole path under pgbench, select-only: direct, PgBouncer (session mode) and Countersign with policy and masking rules on, once with
# buffered and once with durable recording, interleaved round by round, so that a busy machine is busy for all of them.
#   BENCH_SECONDS (4) a run, BENCH_ROUNDS (3) rounds, BENCH_WARMUP (8) seconds before, for each mode and recording level
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=eng/demo.sh
. eng/demo.sh

seconds=${BENCH_SECONDS:-4}
rounds=${BENCH_ROUNDS:-3}
warmup=${BENCH_WARMUP:-8}
work=$(mktemp -d /tmp/countersign-bench.XXXXXX)
chmod 755 "$work"
results=benchmarks/results/postgres.md
bin=$(dirname "$(compgen -G '/usr/lib/postgresql/*/bin/pgbench' | sort -V | tail -n 1)")
bouncer_pid=

cleanup() {
    [ -z "$bouncer_pid" ] || kill "$bouncer_pid" 2> /dev/null || true
    demo_stop || true
    rm -rf "$work"
}
trap cleanup EXIT

echo "Installing and building" >&2
./eng/install.sh bench >&2
demo_build >&2
echo "Starting PostgreSQL (fsync on), PgBouncer and Countersign" >&2
export DEMO_FSYNC=on
DEMO_CONNECTIONS=(bench-buffered bench-durable)
demo_start "$work" benchmarks/postgres/policies >&2
port=$(cat "$work/postgres/port")
password=$(cat "$work/postgres/app-password")
PGPASSWORD=$password PGSSLMODE=disable "$bin/pgbench" -q -i -s 10 -h 127.0.0.1 -p "$port" -U shop_app shop >&2

pool_port=$(demo_free_port)
mkdir "$work/pgbouncer"
cat > "$work/pgbouncer/pgbouncer.ini" << INI
[databases]
shop = host=127.0.0.1 port=$port dbname=shop user=shop_app password=$password
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $pool_port
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $work/pgbouncer/users
pool_mode = session
default_pool_size = 64
max_client_conn = 200
ignore_startup_parameters = extra_float_digits
logfile = $work/pgbouncer/log
INI
printf '"shop_app" "%s"\n' "$password" > "$work/pgbouncer/users"
chown -R postgres: "$work/pgbouncer" 2> /dev/null || true
if [ "$(id -u)" -eq 0 ]; then
    runuser -u postgres -- pgbouncer -q "$work/pgbouncer/pgbouncer.ini" 2> /dev/null &
else
    pgbouncer -q "$work/pgbouncer/pgbouncer.ini" 2> /dev/null &
fi
bouncer_pid=$!
demo_wait_port "$pool_port"

# User and system time of the host, in microseconds.
host_cpu() { awk -v hz="$(getconf CLK_TCK)" '{ printf "%.0f", ($14 + $15) * 1000000 / hz }' "/proc/$DEMO_HOST_PID/stat"; }

# SYSTEM MODE CLIENTS SECONDS -> tps of one run, and the host's processor time a transaction in microseconds
run() {
    local system=$1 mode=$2 clients=$3 seconds=$4 before after
    local -a to
    case $system in
        direct) to=(-h 127.0.0.1 -p "$port" -U shop_app shop); export PGPASSWORD=$password ;;
        pgbouncer) to=(-h 127.0.0.1 -p "$pool_port" -U shop_app shop); export PGPASSWORD=$password ;;
        *) to=(-h 127.0.0.1 -p "$DEMO_GATEWAY_PORT" -U "$BENCH_USER" "bench-$system"); export PGPASSWORD=$BENCH_SECRET ;;
    esac
    before=$(host_cpu)
    PGSSLMODE=disable PGGSSENCMODE=disable timeout $((seconds + 60)) "$bin/pgbench" -n -S -M "$mode" -c "$clients" -j 2 -T "$seconds" "${to[@]}" > "$work/pgbench.out" 2>&1 || return 1
    after=$(host_cpu)
    awk -v cpu=$((after - before)) '/^number of transactions actually processed:/ { count = $NF + 0 } /^tps = / { tps = $3 } END { if (tps) printf "%s %.1f\n", tps, cpu / count }' "$work/pgbench.out"
}

demo_credential alice > "$work/credential"
BENCH_USER=$(sed -n 1p "$work/credential")
BENCH_SECRET=$(sed -n 2p "$work/credential")
systems=(direct pgbouncer buffered durable)
: > "$work/runs"
for mode in simple prepared; do
    for system in buffered durable; do run "$system" "$mode" 8 "$warmup" > /dev/null; done
done
for round in $(seq "$rounds"); do
    for mode in simple prepared; do
        for clients in 1 8 32; do
            for system in "${systems[@]}"; do
                figures=$(run "$system" "$mode" "$clients" "$seconds") && [ -n "$figures" ] \
                    || { echo "pgbench failed: $system $mode $clients" >&2; tail -n 20 "$work/pgbench.out" >&2; exit 1; }
                echo "$mode $clients $system $figures" >> "$work/runs"
                echo "round $round: $mode $clients clients $system: ${figures% *} tps" >&2
            done
        done
    done
done
fsync=$("$bin/pg_test_fsync" -s 1 -f "$work/fsync.test" 2> /dev/null | awk '$1 == "fdatasync" { print $(NF - 1); exit }')

median='function median(list, n,   i, j, t) { for (i = 2; i <= n; i++) for (j = i; j > 1 && list[j] < list[j - 1]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t } return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2 }'
figure() { # MODE CLIENTS SYSTEM BASE -> median, lowest and highest ratio of the rounds
    awk -v mode="$1" -v clients="$2" -v system_="$3" -v base="$4" "$median"'
        $1 == mode && $2 == clients && $3 == system_ { s[++ns] = $4 }
        $1 == mode && $2 == clients && $3 == base { b[++nb] = $4 }
        END { for (i = 1; i <= ns; i++) { r[i] = s[i] / b[i]; if (i == 1 || r[i] < lo) lo = r[i]; if (r[i] > hi) hi = r[i] } printf "%.2f %.2f %.2f\n", median(r, ns), lo, hi }' "$work/runs"
}

cost() { # MODE CLIENTS SYSTEM -> the host's processor time a transaction
    awk -v mode="$1" -v clients="$2" -v system_="$3" "$median"'
        $1 == mode && $2 == clients && $3 == system_ { c[++n] = $5 }
        END { printf "%.0f\n", median(c, n) }' "$work/runs"
}

mkdir -p benchmarks/results
{
    echo "# postgres: the whole path under pgbench, select-only"
    echo
    echo "\`./bench.sh postgres\` on $(date -u +%F): $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(uname -r), .NET $(dotnet --version)."
    echo "$rounds interleaved rounds of ${seconds} s each, no TLS, pgbench -S with -j 2, scale 10. Ratios are medians over the rounds (lowest to highest)."
    echo "fdatasync of the same run: ${fsync:-unknown} us. Countersign runs as the standalone host, recorder and all, on the same cores."
    echo
    echo "The last two columns are the processor time of the host a transaction, in us, buffered and durable: all threads, recorder and indexing too."
    echo
    echo "| mode | clients | direct tps | PgBouncer / direct | buffered / PgBouncer | durable / PgBouncer | host, buffered | host, durable |"
    echo "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for mode in simple prepared; do
        for clients in 1 8 32; do
            read -r pool pool_low pool_high < <(figure "$mode" "$clients" pgbouncer direct)
            read -r buffered buffered_low buffered_high < <(figure "$mode" "$clients" buffered pgbouncer)
            read -r durable durable_low durable_high < <(figure "$mode" "$clients" durable pgbouncer)
            direct=$(awk -v mode="$mode" -v clients="$clients" '$1 == mode && $2 == clients && $3 == "direct" { sum += $4; n++ } END { printf "%.0f", sum / n }' "$work/runs")
            echo "| $mode | $clients | $direct | $pool ($pool_low to $pool_high) | $buffered ($buffered_low to $buffered_high) | $durable ($durable_low to $durable_high) | $(cost "$mode" "$clients" buffered) | $(cost "$mode" "$clients" durable) |"
        done
    done
} > "$results"

for mode in simple prepared; do
    for clients in 1 8 32; do
        buffered_goal=- durable_goal=-
        case $clients in
            8) buffered_goal='>=0.8' durable_goal='>=0.55' ;;
            32) buffered_goal='>=0.8' durable_goal='>=0.7' ;;
        esac
        read -r value _ < <(figure "$mode" "$clients" buffered pgbouncer)
        printf '%s\t%s\t%s\t%s\n' "$mode-$clients-buffered" "$value" "$buffered_goal" "ratio to PgBouncer"
        read -r value _ < <(figure "$mode" "$clients" durable pgbouncer)
        printf '%s\t%s\t%s\t%s\n' "$mode-$clients-durable" "$value" "$durable_goal" "ratio to PgBouncer"
    done
done
printf 'fdatasync\t%s\t-\tus\n' "${fsync:-unknown}"
