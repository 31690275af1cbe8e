#!/usr/bin/env bash
# Countersign on Dapr as plain processes of one machine, without Docker: PostgreSQL, Redis, Dapr's control plane with mTLS, five services with a sidecar each, and
# an entrance, all on loopback. It says what it starts, waits until everything is ready, and stops it cleanly.
#   ./cluster.sh up --issuer URL | --demo [--proxies N] [--recorders N] [--port-base PORT]
#   ./cluster.sh status
#   ./cluster.sh down
# --issuer: your OpenID provider (docs/operations/identity.md). --demo: the development issuer, with alice, bob and carol.
# DAPR_BIN: folder of daprd, placement, scheduler and sentry 1.18, if they are not on PATH. COUNTERSIGN_CLUSTER: folder of the cluster (default ./.countersign/cluster).
# COUNTERSIGN_BIN: folder of the programs. COUNTERSIGN_POSTGRES, COUNTERSIGN_REDIS: HOST:PORT of servers on loopback to be used instead of own ones (for PostgreSQL
# with PGUSER and PGPASSWORD of a superuser; Redis with the ACL of secrets/redis.acl).
# Exit codes: 0 good, 1 failed or not all running, 2 wrong usage, 3 a program is missing.
set -euo pipefail
umask 077
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() { sed -n '4,6p' "$here/cluster.sh" | sed 's/^# *//' >&2; exit 2; }
say() { printf '== %s\n' "$*"; }
fail() { echo "cluster.sh: $*" >&2; exit 1; }

action=${1:-}
[ $# -gt 0 ] && shift
issuer='' demo='' proxies=1 recorders=1 base=6100
number() { [[ ${1:-} =~ ^[0-9]+$ ]] && [ "$1" -ge "$2" ] && [ "$1" -le "$3" ] || { echo "cluster.sh: a number from $2 to $3 is needed, not '${1:-}'" >&2; exit 2; }; }
while [ $# -gt 0 ]; do
    case $1 in
        --issuer) issuer=${2:-}; [ -n "$issuer" ] || usage; shift 2 ;;
        --demo) demo=yes; shift ;;
        --proxies) number "${2:-}" 1 9; proxies=$2; shift 2 ;;
        --recorders) number "${2:-}" 1 9; recorders=$2; shift 2 ;;
        --port-base) number "${2:-}" 1024 65000; base=$2; shift 2 ;;
        *) usage ;;
    esac
done
dir=$(realpath -m "${COUNTERSIGN_CLUSTER:-$here/.countersign/cluster}")

# ---- Names and ports ---------------------------------------------------------------------------------------------------------------------------------------
# BASE is the entrance; +1 to +17 the control plane and servers; each service has ten from +20 on: program, sidecar (HTTP, gRPC, internal, metrics, profile), clients.
instances=() # NAME of each service process, in the order of its ports
layout() {
    instances=(identity policy approval)
    local i
    for i in $(seq "$recorders"); do instances+=("recorder-$i"); done
    for i in $(seq "$proxies"); do instances+=("proxy-$i"); done
}
app_of() { case $1 in recorder-* | proxy-*) echo "${1%-*}" ;; *) echo "$1" ;; esac; }
port_of() { # INSTANCE [OFFSET]
    local i
    for i in "${!instances[@]}"; do
        if [ "${instances[$i]}" = "$1" ]; then echo $((base + 20 + 10 * i + ${2:-0})); return; fi
    done
    return 1
}
SENTRY=1 SENTRY_HEALTH=2 SENTRY_METRICS=3 PLACEMENT=4 PLACEMENT_HEALTH=5 PLACEMENT_METRICS=6 PLACEMENT_PEERS=7
SCHEDULER=8 SCHEDULER_HEALTH=9 SCHEDULER_METRICS=10 SCHEDULER_CLIENT=11 SCHEDULER_PEER=12 REDIS=16 POSTGRES=17

# ---- Processes ---------------------------------------------------------------------------------------------------------------------------------------------
# A pid file has the pid and the time its process started, so that another process that has got the number is never taken for ours.
started_at() { local stat; stat=$(cat "/proc/$1/stat" 2> /dev/null) || return 1; stat=${stat##*) }; set -- $stat; [ "$1" != Z ] && echo "${20}"; }
pid_of() {
    local pid time
    [ -f "$dir/run/$1.pid" ] || return 1
    read -r pid time < "$dir/run/$1.pid" || return 1
    [ "$(started_at "$pid" || true)" = "$time" ] && echo "$pid"
}
start() { # NAME PROGRAM ARGUMENTS...: in a session of its own, so that Ctrl-C here doesn't reach it
    local name=$1
    shift
    setsid "$@" >> "$dir/log/$name.log" 2>&1 < /dev/null &
    local pid=$! time
    time=$(started_at "$pid") || { tail -n 20 "$dir/log/$name.log" >&2; fail "$name ended at once (log: $dir/log/$name.log)"; }
    echo "$pid $time" > "$dir/run/$name.pid"
}
stop() { # SECONDS NAME...: all at once, then waits for all
    local patience=$1 name pid deadline
    shift
    for name in "$@"; do if pid=$(pid_of "$name"); then kill "$pid" 2> /dev/null || true; fi; done
    deadline=$((SECONDS + patience))
    for name in "$@"; do
        while pid=$(pid_of "$name"); do
            if [ "$SECONDS" -ge "$deadline" ]; then
                echo "cluster.sh: $name did not end in $patience s and is killed" >&2
                kill -9 "$pid" 2> /dev/null || true
                deadline=$((SECONDS + 5))
            fi
            sleep 0.1
        done
        rm -f "$dir/run/$name.pid"
    done
}
answers() { curl -sf -o /dev/null --max-time 3 "$1"; }
await() { # NAME SECONDS WHAT COMMAND...: until it succeeds, while NAME runs
    local name=$1 deadline=$((SECONDS + $2)) what=$3
    shift 3
    until "$@"; do
        pid_of "$name" > /dev/null || { tail -n 30 "$dir/log/$name.log" >&2; fail "$name has ended (log: $dir/log/$name.log)"; }
        [ "$SECONDS" -lt "$deadline" ] || { tail -n 30 "$dir/log/$name.log" >&2; fail "$name: $what takes too long (log: $dir/log/$name.log)"; }
        sleep 0.1
    done
}
named() { local file; for file in "$dir"/run/*.pid; do [ -e "$file" ] || continue; file=${file##*/}; file=${file%.pid}; [[ $file == $1 ]] && echo "$file"; done; return 0; }

# ---- Programs ----------------------------------------------------------------------------------------------------------------------------------------------
dapr_program() { if [ -n "${DAPR_BIN:-}" ]; then [ -x "$DAPR_BIN/$1" ] && realpath "$DAPR_BIN/$1"; else command -v "$1"; fi; }
postgres_bin() {
    local found
    found=$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1) || true
    [ -n "$found" ] || found=$(command -v initdb) || return 1
    dirname "$found"
}
program() { # Countersign.X.Host: of a release, or of a build in the repository
    local place
    for place in "${COUNTERSIGN_BIN:-$here/app}/$1" "${COUNTERSIGN_BIN:-$here/artifacts/bin}/$1/${COUNTERSIGN_CONFIGURATION:-release}/$1"; do
        if [ -f "$place" ] && [ -x "$place" ]; then echo "$place"; return; fi
    done
    return 1
}
host_of() { local app=$1; echo "Countersign.${app^}.Host"; }
check_programs() {
    local missing=() each
    for each in daprd placement scheduler sentry; do dapr_program "$each" > /dev/null || missing+=("$each"); done
    if [ ${#missing[@]} -gt 0 ]; then
        local looked='on PATH'
        [ -z "${DAPR_BIN:-}" ] || looked="in $DAPR_BIN"
        echo "cluster.sh: missing: ${missing[*]} (looked $looked)." >&2
        echo "They are programs of Dapr 1.18 (releases of dapr/dapr, one archive each). Put them into one folder and name it: DAPR_BIN=/opt/dapr ./cluster.sh …" >&2
        echo "Without Dapr, the standalone host runs everything in one process." >&2
        exit 3
    fi
    [ -n "${COUNTERSIGN_REDIS:-}" ] || command -v redis-server > /dev/null || missing+=(redis-server)
    [ -n "${COUNTERSIGN_POSTGRES:-}" ] || postgres_bin > /dev/null || missing+=(postgresql)
    for each in psql:postgresql-client curl:curl openssl:openssl setsid:util-linux; do command -v "${each%%:*}" > /dev/null || missing+=("${each##*:}"); done
    if [ ${#missing[@]} -gt 0 ]; then
        echo "cluster.sh: missing Debian packages: ${missing[*]} (apt-get install ${missing[*]})" >&2
        exit 3
    fi
    for each in Identity Policy Approval Recorder Proxy; do program "Countersign.$each.Host" > /dev/null || missing+=("Countersign.$each.Host"); done
    program Countersign.Entrance > /dev/null || missing+=(Countersign.Entrance)
    if [ ${#missing[@]} -gt 0 ]; then
        echo "cluster.sh: not built: ${missing[*]}. Build them: dotnet build -c Release" >&2
        exit 3
    fi
}

# ---- Servers -----------------------------------------------------------------------------------------------------------------------------------------------
# PostgreSQL refuses to run as root: root hands it to the user postgres.
as_postgres() { if [ "$(id -u)" -eq 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi; }
postgres_up() {
    local bin data=$dir/postgres/data
    bin=$(postgres_bin)
    if [ ! -f "$data/PG_VERSION" ]; then
        mkdir -p "$dir/postgres"
        cp "$dir/secrets/postgres-password" "$dir/postgres/password"
        if [ "$(id -u)" -eq 0 ]; then chown -R postgres: "$dir/postgres"; fi
        as_postgres "$bin/initdb" -D "$data" -U postgres -E UTF8 --locale=C.UTF-8 -A scram-sha-256 --pwfile="$dir/postgres/password" > "$dir/log/initdb.log" 2>&1 \
            || { tail -n 20 "$dir/log/initdb.log" >&2; fail "initdb failed"; }
        rm -f "$dir/postgres/password"
    fi
    local as=()
    [ "$(id -u)" -ne 0 ] || as=(setpriv --reuid=postgres --regid=postgres --init-groups)
    start postgres "${as[@]}" "$bin/postgres" -D "$data" -c listen_addresses=127.0.0.1 -c "port=$((base + POSTGRES))" -c unix_socket_directories='' -c max_connections=300
    await postgres 60 "its first answer" ready_postgres
}
ready_postgres() { admin_sql -c 'select 1' > /dev/null 2>&1; }
admin_sql() {
    local address=127.0.0.1:$((base + POSTGRES)) user=postgres password
    password=$(< "$dir/secrets/postgres-password")
    if [ -n "${COUNTERSIGN_POSTGRES:-}" ]; then address=$COUNTERSIGN_POSTGRES user=${PGUSER:-postgres} password=${PGPASSWORD:-}; fi
    PGPASSWORD=$password psql -X -q -v ON_ERROR_STOP=1 "host=${address%:*} port=${address##*:} user=$user dbname=postgres sslmode=disable" "$@"
}
redis_up() {
    mkdir -p "$dir/redis"
    start redis redis-server --bind 127.0.0.1 --port $((base + REDIS)) --aclfile "$dir/secrets/redis.acl" --dir "$dir/redis" --appendonly yes --appendfsync everysec \
        --maxmemory-policy noeviction --save ''
    await redis 30 "its first answer" redis_ready
}
redis_ready() { { exec 3<> "/dev/tcp/127.0.0.1/$((base + REDIS))"; } 2> /dev/null && { exec 3>&-; } 2> /dev/null; }

# ---- Dapr --------------------------------------------------------------------------------------------------------------------------------------------------
control_plane_up() {
    local trust=(--tls-enabled=true "--sentry-address=127.0.0.1:$((base + SENTRY))" "--trust-anchors-file=$dir/secrets/dapr-ca.crt" --trust-domain=countersign)
    mkdir -p "$dir/dapr/issuer" "$dir/dapr/scheduler" "$dir/dapr/tls"
    cp "$dir/secrets/dapr-ca.crt" "$dir/dapr/issuer/ca.crt"
    cp "$dir/secrets/dapr-issuer.crt" "$dir/dapr/issuer/issuer.crt"
    cp "$dir/secrets/dapr-issuer.key" "$dir/dapr/issuer/issuer.key"
    start sentry env NAMESPACE=default "$(dapr_program sentry)" "--issuer-credentials=$dir/dapr/issuer" --trust-domain=countersign --listen-address=127.0.0.1 "--port=$((base + SENTRY))" \
        "--healthz-port=$((base + SENTRY_HEALTH))" --healthz-listen-address=127.0.0.1 "--metrics-port=$((base + SENTRY_METRICS))" --metrics-listen-address=127.0.0.1
    await sentry 60 "being healthy" answers "http://127.0.0.1:$((base + SENTRY_HEALTH))/healthz"
    start placement env NAMESPACE=default "$(dapr_program placement)" --id=p0 --listen-address=127.0.0.1 "--port=$((base + PLACEMENT))" "--initial-cluster=p0=127.0.0.1:$((base + PLACEMENT_PEERS))" \
        "--healthz-port=$((base + PLACEMENT_HEALTH))" --healthz-listen-address=127.0.0.1 "--metrics-port=$((base + PLACEMENT_METRICS))" --metrics-listen-address=127.0.0.1 "${trust[@]}"
    start scheduler env NAMESPACE=default "$(dapr_program scheduler)" --id=dapr-scheduler-server-0 --listen-address=127.0.0.1 "--port=$((base + SCHEDULER))" \
        "--override-broadcast-host-port=127.0.0.1:$((base + SCHEDULER))" "--healthz-port=$((base + SCHEDULER_HEALTH))" --healthz-listen-address=127.0.0.1 \
        "--metrics-port=$((base + SCHEDULER_METRICS))" --metrics-listen-address=127.0.0.1 "--etcd-data-dir=$dir/dapr/scheduler" "--etcd-client-port=$((base + SCHEDULER_CLIENT))" \
        "--etcd-initial-cluster=dapr-scheduler-server-0=https://127.0.0.1:$((base + SCHEDULER_PEER))" "--identity-directory-write=$dir/dapr/tls" "${trust[@]}"
    await placement 60 "being healthy" answers "http://127.0.0.1:$((base + PLACEMENT_HEALTH))/healthz"
    await scheduler 60 "being healthy" answers "http://127.0.0.1:$((base + SCHEDULER_HEALTH))/healthz"
}
sidecar_up() { # INSTANCE
    local name=$1 app components=$here/components
    app=$(app_of "$name")
    local -a credentials=()
    [ "$app" != proxy ] || credentials=("COUNTERSIGN_TARGET_CREDENTIALS_FILE=$dir/secrets/target-credentials.json")
    # The tokens go by environment: Dapr reads them nowhere else. env's own arguments can be seen by others, so the shell sets them.
    (
        export NAMESPACE=default DAPR_HOST_IP=127.0.0.1 POD_NAME="$name" "${credentials[@]}"
        export COUNTERSIGN_SECRETS_FILE="$dir/secrets/$app-sidecar.json" COUNTERSIGN_NAMES_FILE="$dir/dapr/names.db"
        export COUNTERSIGN_REDIS_HOST="${COUNTERSIGN_REDIS:-127.0.0.1:$((base + REDIS))}" COUNTERSIGN_REDIS_USER=countersign COUNTERSIGN_REDIS_TLS=false
        DAPR_TRUST_ANCHORS=$(< "$dir/secrets/dapr-ca.crt") DAPR_API_TOKEN=$(< "$dir/secrets/$app-dapr-api-token") APP_API_TOKEN=$(< "$dir/secrets/$app-app-api-token")
        export DAPR_TRUST_ANCHORS DAPR_API_TOKEN APP_API_TOKEN
        start "sidecar-$name" "$(dapr_program daprd)" --mode=standalone "--app-id=$app" "--app-port=$(port_of "$name")" --app-protocol=http --app-channel-address=127.0.0.1 \
            "--dapr-http-port=$(port_of "$name" 1)" "--dapr-grpc-port=$(port_of "$name" 2)" --dapr-listen-addresses=127.0.0.1 \
            "--dapr-internal-grpc-port=$(port_of "$name" 3)" --dapr-internal-grpc-listen-address=127.0.0.1 \
            "--metrics-port=$(port_of "$name" 4)" --metrics-listen-address=127.0.0.1 "--profile-port=$(port_of "$name" 5)" \
            "--placement-host-address=127.0.0.1:$((base + PLACEMENT))" "--scheduler-host-address=127.0.0.1:$((base + SCHEDULER))" \
            --enable-mtls=true "--sentry-address=127.0.0.1:$((base + SENTRY))" --control-plane-trust-domain=countersign --control-plane-namespace=default \
            "--resources-path=$components/resources" "--resources-path=$components/pubsub/redis" "--resources-path=$components/secrets/file" \
            "--config=$components/configuration/$app.yaml" "--config=$components/nameresolution/sqlite.yaml" \
            --enable-app-health-check=true --app-health-check-path=/health/live --app-health-probe-interval=1 --app-health-threshold=4 --max-body-size=64Mi --read-buffer-size=64Ki
    )
}

# ---- Countersign -------------------------------------------------------------------------------------------------------------------------------------------
service_up() { # INSTANCE
    local name=$1 app
    app=$(app_of "$name")
    (
        export ASPNETCORE_ENVIRONMENT=Production ASPNETCORE_URLS="http://127.0.0.1:$(port_of "$name")"
        [ -z "$demo" ] || ASPNETCORE_ENVIRONMENT=Development
        export Countersign__Platform=Dapr Countersign__BaseUrl="http://127.0.0.1:$base" Countersign__Data="$dir/data/$name"
        export Countersign__Trust__Directory="$dir/trust" Countersign__Instance="$name"
        DAPR_HTTP_PORT=$(port_of "$name" 1) DAPR_GRPC_PORT=$(port_of "$name" 2)
        DAPR_API_TOKEN=$(< "$dir/secrets/$app-dapr-api-token") APP_API_TOKEN=$(< "$dir/secrets/$app-app-api-token")
        export DAPR_HTTP_PORT DAPR_GRPC_PORT DAPR_API_TOKEN APP_API_TOKEN
        if [ -f "$dir/secrets/$app-connection" ]; then
            export Countersign__Storage__PostgresFile="$dir/secrets/$app-connection"
        fi
        case $app in
            identity)
                if [ -n "$demo" ]; then
                    export Countersign__DevIssuer__Enabled=true
                    set -a
                    # shellcheck disable=SC1091
                    . "$dir/secrets/people.env"
                    set +a
                else
                    export Countersign__Identity__Provider__Issuer="$issuer"
                fi
                ;;
            recorder)
                export Countersign__Recorder__LogKeyFile="$dir/secrets/recorder-log.key"
                ;;
            proxy)
                export Countersign__Proxy__Id="$name" Countersign__Proxy__PostgresAddress=127.0.0.1
                Countersign__Proxy__PostgresPort=$(port_of "$name" 6)
                export Countersign__Proxy__PostgresPort
                ;;
        esac
        if [ -n "${Countersign__Storage__PostgresFile:-}" ]; then
            # Only what ends before the service begins has the login of the schema's owner.
            Countersign__Storage__PrepareOnly=true Countersign__Storage__OwnerFile="$dir/secrets/$app-owner-connection" \
                "$(program "$(host_of "$app")")" >> "$dir/log/$name.log" 2>&1 || { tail -n 20 "$dir/log/$name.log" >&2; fail "the schema of $app could not be brought up to date (log: $dir/log/$name.log)"; }
        fi
        start "$name" "$(program "$(host_of "$app")")"
    )
}
entrance_up() {
    local i=0 app name
    (
        export ASPNETCORE_ENVIRONMENT=Production ASPNETCORE_URLS="http://127.0.0.1:$base"
        [ -z "$demo" ] || export Countersign__Entrance__DevIssuer=true
        for name in "${instances[@]}"; do
            app=$(app_of "$name")
            i=0
            [ "$name" = "$app" ] || i=$((${name##*-} - 1))
            export "Countersign__Entrance__Services__${app}__$i=http://127.0.0.1:$(port_of "$name")"
        done
        start entrance "$(program Countersign.Entrance)"
    )
}
scrape_targets() { # For Prometheus (file_sd_configs): who runs here, in a layout that differs with the number of replicas
    local name list=()
    for name in "${instances[@]}"; do list+=("{\"targets\": [\"127.0.0.1:$(port_of "$name")\"], \"labels\": {\"job\": \"countersign\", \"part\": \"$name\"}}"); done
    list+=("{\"targets\": [\"127.0.0.1:$base\"], \"labels\": {\"job\": \"countersign\", \"part\": \"entrance\"}}")
    list+=("{\"targets\": [\"127.0.0.1:$((base + SENTRY_METRICS))\"], \"labels\": {\"job\": \"dapr\", \"part\": \"sentry\"}}")
    list+=("{\"targets\": [\"127.0.0.1:$((base + PLACEMENT_METRICS))\"], \"labels\": {\"job\": \"dapr\", \"part\": \"placement\"}}")
    list+=("{\"targets\": [\"127.0.0.1:$((base + SCHEDULER_METRICS))\"], \"labels\": {\"job\": \"dapr\", \"part\": \"scheduler\"}}")
    (IFS=,; printf '[%s]\n' "${list[*]}") > "$dir/run/prometheus.json"
}
ready_url() { case $1 in entrance) echo "http://127.0.0.1:$base/health/ready" ;; *) echo "http://127.0.0.1:$(port_of "$1")/health/ready" ;; esac; }

up() {
    if [ -z "$issuer$demo" ] || { [ -n "$issuer" ] && [ -n "$demo" ]; }; then usage; fi
    layout
    [ $((base + 20 + 10 * ${#instances[@]})) -le 65535 ] || fail "--port-base is too high"
    check_programs
    local name running
    for name in $(named '*'); do
        running=$(pid_of "$name" || true)
        [ -z "$running" ] || fail "$name runs already (process $running): ./cluster.sh down first"
    done
    mkdir -p "$dir" "$dir/run" "$dir/log" "$dir/data" "$dir/trust"
    rm -f "$dir"/run/*.pid
    chmod 700 "$dir"
    printf '%s\n' "base=$base" "proxies=$proxies" "recorders=$recorders" > "$dir/run/layout"

    # Whatever fails from here on, nothing is left running.
    trap 'code=$?; trap - EXIT; if [ "$code" -ne 0 ]; then echo "cluster.sh: stopping what was started" >&2; down_all; fi; exit "$code"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM

    say "Secrets in $dir/secrets"
    local -a people=()
    [ -z "$demo" ] || people=(--people alice,bob,carol)
    "$here/eng/secrets.sh" "$dir/secrets" --postgres "${COUNTERSIGN_POSTGRES:-127.0.0.1:$((base + POSTGRES))}" --redis "${COUNTERSIGN_REDIS:-127.0.0.1:$((base + REDIS))}" "${people[@]}" > "$dir/log/secrets.log"
    if [ -z "${COUNTERSIGN_POSTGRES:-}" ]; then
        say "PostgreSQL on 127.0.0.1:$((base + POSTGRES))"
        if [ "$(id -u)" -eq 0 ]; then
            mkdir -p "$dir/postgres"
            chown postgres: "$dir/postgres"
            chmod 711 "$dir"
            as_postgres test -x "$dir/postgres" || fail "the user postgres can't get to $dir: a folder above it is closed. Name another one in COUNTERSIGN_CLUSTER"
        fi
        postgres_up
    fi
    admin_sql -f "$dir/secrets/postgres-init.sql" > "$dir/log/postgres-init.log" 2>&1 || { tail -n 20 "$dir/log/postgres-init.log" >&2; fail "the databases could not be made"; }
    if [ -z "${COUNTERSIGN_REDIS:-}" ]; then
        say "Redis on 127.0.0.1:$((base + REDIS))"
        redis_up
    fi
    say "Dapr's control plane: sentry, placement, scheduler"
    control_plane_up
    scrape_targets
    say "Services and sidecars: ${instances[*]}"
    for name in "${instances[@]}"; do
        case $name in
            proxy-1) ;;
            proxy-*)
                # All proxies of a group open target credentials with the same key: the first one makes it.
                local key=data/proxy-1/keys/proxy-group-default.key
                await proxy-1 60 "making the key of its group" test -s "$dir/$key"
                mkdir -p "$dir/data/$name/keys"
                [ -e "$dir/data/$name/keys/proxy-group-default.key" ] || cp "$dir/$key" "$dir/data/$name/keys/"
                ;;
        esac
        service_up "$name"
        sidecar_up "$name"
    done
    say "Waiting until all are ready"
    for name in "${instances[@]}"; do
        await "$name" 90 "starting" answers "http://127.0.0.1:$(port_of "$name")/health/live"
        await "sidecar-$name" 90 "reaching its backends" answers "http://127.0.0.1:$(port_of "$name" 1)/v1.0/healthz/outbound"
    done
    entrance_up
    await entrance 60 "starting" answers "http://127.0.0.1:$base/health/live"
    for name in "${instances[@]}"; do await "$name" 120 "becoming ready" answers "$(ready_url "$name")"; done
    trap - EXIT INT TERM
    say "Countersign runs: http://127.0.0.1:$base (logs: $dir/log)"
    for name in "${instances[@]}"; do if [ "$(app_of "$name")" = proxy ]; then echo "$name takes PostgreSQL clients on 127.0.0.1:$(port_of "$name" 6)"; fi; done
    [ -f "$dir/data/identity/bootstrap-token" ] && echo "The first person: countersign login && countersign bootstrap --token-file $dir/data/identity/bootstrap-token"
    if [ -n "$demo" ]; then echo "Passwords of alice, bob and carol: $dir/secrets/person-*"; fi
}

down_all() {
    local -a names
    # In the order of the data path: nobody loses what it still needs. Proxies drain.
    mapfile -t names < <(named 'proxy-*'; named entrance)
    stop 90 "${names[@]}"
    mapfile -t names < <(named 'recorder-*'; named approval; named policy; named identity)
    stop 60 "${names[@]}"
    mapfile -t names < <(named 'sidecar-*')
    stop 30 "${names[@]}"
    mapfile -t names < <(named scheduler; named placement; named sentry)
    stop 30 "${names[@]}"
    mapfile -t names < <(named redis)
    stop 30 "${names[@]}"
    # A fast shutdown: TERM would wait for its clients.
    local pid
    if pid=$(pid_of postgres); then kill -INT "$pid"; fi
    mapfile -t names < <(named postgres)
    stop 60 "${names[@]}"
}

status() {
    [ -f "$dir/run/layout" ] || { echo "There is no cluster in $dir."; exit 1; }
    # shellcheck disable=SC1091
    . "$dir/run/layout"
    layout
    local name pid state good=0
    local -a all=()
    [ -n "${COUNTERSIGN_POSTGRES:-}" ] || all+=(postgres)
    [ -n "${COUNTERSIGN_REDIS:-}" ] || all+=(redis)
    all+=(sentry placement scheduler)
    for name in "${instances[@]}"; do all+=("$name" "sidecar-$name"); done
    all+=(entrance)
    for name in "${all[@]}"; do
        if ! pid=$(pid_of "$name"); then
            state=stopped pid=- good=1
        else
            case $name in
                entrance | identity | policy | approval | recorder-* | proxy-*) if answers "$(ready_url "$name")"; then state=ready; else state='not ready' good=1; fi ;;
                *) state=running ;;
            esac
        fi
        printf '%-20s %-8s %s\n' "$name" "$pid" "$state"
    done
    return "$good"
}

case $action in
    up) up ;;
    down)
        if [ -z "$(named '*')" ]; then echo "Nothing runs in $dir."; exit 0; fi
        down_all
        say "Stopped. Data stays in $dir."
        ;;
    status) status ;;
    *) usage ;;
esac
