# shellcheck shell=bash
# Functions for quickstart.sh and the benchmarks: one demo composition in one folder. Source it from the root of the repository.
#   demo_build                       builds the standalone host and the CLI
#   demo_start DIR [POLICIES]        PostgreSQL, host, people alice, bob and carol, bootstrap, the connection and the policies
#   demo_cli PERSON ARGS...          the CLI as that person
#   demo_credential PERSON           a fresh access credential: user name and secret, a line each
#   demo_host_start / demo_host_kill the host alone
#   demo_stop                        everything that demo_start started

DEMO_CONFIGURATION=Release
DEMO_CLI=$PWD/artifacts/bin/Countersign.Cli/release/countersign
DEMO_HOST=$PWD/artifacts/bin/Countersign.Standalone/release/Countersign.Standalone
DEMO_PEOPLE=(alice bob carol)
# Names under which the demo database is registered; policies may say something else of each.
DEMO_CONNECTIONS=(shop)
DEMO_DIR=
DEMO_HOST_PID=

demo_say() { printf '\n== %s\n' "$*"; }
demo_fail() { echo "FAILED: $*" >&2; return 1; }

# A port that was free a moment ago.
demo_free_port() {
    local port
    while :; do
        port=$(shuf -i 20000-45000 -n 1)
        if ! (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then echo "$port"; return; fi
    done
}

# Waits until something listens.
demo_wait_port() {
    local tries
    for tries in $(seq 200); do
        if (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; then return 0; fi
        sleep 0.1
    done
    demo_fail "nothing listens on port $1 after $tries tries"
}

demo_build() {
    local stamp=artifacts/demo-build newest
    newest=$(find services platform hosts cli Directory.Build.props Directory.Packages.props -newer "$stamp" -type f -not -path '*/bin/*' -not -path '*/obj/*' -print -quit 2> /dev/null || echo first)
    if [ -x "$DEMO_HOST" ] && [ -x "$DEMO_CLI" ] && [ -z "$newest" ]; then echo "The build is up to date."; return; fi
    export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
    dotnet build hosts/standalone -c "$DEMO_CONFIGURATION" -v q -nologo
    dotnet build cli -c "$DEMO_CONFIGURATION" -v q -nologo
    touch "$stamp"
}

demo_password() { cat "$DEMO_DIR/passwords/$1"; }

demo_cli() {
    local person=$1
    shift
    COUNTERSIGN_CONFIG="$DEMO_DIR/cli/$person" COUNTERSIGN_SERVER="http://127.0.0.1:$DEMO_HTTP_PORT" "$DEMO_CLI" "$@"
}

demo_host_start() {
    local index=0 person tries
    local -a environment=(
        ASPNETCORE_ENVIRONMENT=Development
        "ASPNETCORE_URLS=http://127.0.0.1:$DEMO_HTTP_PORT"
        "Countersign__BaseUrl=http://127.0.0.1:$DEMO_HTTP_PORT"
        "Countersign__Data=$DEMO_DIR/data"
        "Countersign__Proxy__PostgresPort=$DEMO_GATEWAY_PORT"
        Countersign__DevIssuer__Enabled=true
        # One read by .NET at start: results are handed on by the thread that received them.
        DOTNET_SYSTEM_NET_SOCKETS_INLINE_COMPLETIONS=1
    )
    # On few cores one thread that waits for sockets serves more of them each time that it wakes.
    [ "$(nproc)" -gt 4 ] || environment+=(DOTNET_SYSTEM_NET_SOCKETS_THREAD_COUNT=1)
    for person in "${DEMO_PEOPLE[@]}"; do
        environment+=("Countersign__DevIssuer__Users__${index}__Name=$person" "Countersign__DevIssuer__Users__${index}__Email=$person@example.com")
        environment+=("Countersign__DevIssuer__Users__${index}__Password=$(demo_password "$person")" "Countersign__DevIssuer__Users__${index}__Groups__0=engineers")
        index=$((index + 1))
    done
    env "${environment[@]}" "$DEMO_HOST" >> "$DEMO_DIR/host.log" 2>&1 < /dev/null &
    DEMO_HOST_PID=$!
    echo "$DEMO_HOST_PID" > "$DEMO_DIR/host.pid"
    for tries in $(seq 300); do
        if curl -sf -o /dev/null "http://127.0.0.1:$DEMO_HTTP_PORT/health/ready"; then return 0; fi
        kill -0 "$DEMO_HOST_PID" 2> /dev/null || break
        sleep 0.2
    done
    tail -n 40 "$DEMO_DIR/host.log" >&2
    demo_fail "the host is not ready after $tries tries (log: $DEMO_DIR/host.log)"
}

demo_host_kill() {
    kill -9 "$DEMO_HOST_PID"
    wait "$DEMO_HOST_PID" 2> /dev/null || true
    DEMO_HOST_PID=
}

# Logs a person in by device code; what a person does in the browser is done by curl.
demo_login() {
    local person=$1 log jar complete code tries
    log=$(mktemp "$DEMO_DIR/login.XXXXXX")
    jar=$(mktemp "$DEMO_DIR/cookies.XXXXXX")
    demo_cli "$person" login --device --output json > "$log" 2>&1 &
    local login=$!
    for tries in $(seq 100); do
        code=$(sed -nE 's/.*"userCode": ?"([^"]+)".*/\1/p' "$log" | head -n 1)
        [ -z "$code" ] || break
        kill -0 "$login" 2> /dev/null || break
        sleep 0.1
    done
    [ -n "$code" ] || { cat "$log" >&2; demo_fail "no device code for $person after $tries tries"; }
    local issuer="http://127.0.0.1:$DEMO_HTTP_PORT/dev-issuer"
    curl -sf -o /dev/null -c "$jar" --data-urlencode "name=$person" --data-urlencode "password=$(demo_password "$person")" --data-urlencode "return=/dev-issuer/device" "$issuer/login"
    complete=$(curl -sf -b "$jar" --data-urlencode "user_code=$code" "$issuer/device") || { demo_fail "the device login of $person was refused: $complete"; }
    wait "$login" || { cat "$log" >&2; demo_fail "login of $person"; }
    rm -f "$log" "$jar"
}

# Person id by name.
demo_person() { demo_cli alice persons --output json | jq -r --arg name "$1@example.com" '(if type == "array" then . else [.] end)[] | select(.name == $name) | .id'; }

# The request id out of the JSON of a change.
demo_request() { jq -rs '[.[] | .requestId // .request.id // .id | select(. != null)] | first'; }

demo_start() {
    DEMO_DIR=$(realpath -m "$1")
    local policies=${2:-policies/starter} person
    mkdir -p "$DEMO_DIR/passwords" "$DEMO_DIR/cli"
    chmod 755 "$DEMO_DIR"
    chmod 700 "$DEMO_DIR/passwords" "$DEMO_DIR/cli"
    for person in "${DEMO_PEOPLE[@]}"; do
        [ -s "$DEMO_DIR/passwords/$person" ] || (umask 077 && head -c 9 /dev/urandom | base64 | tr '+/' 'ab' > "$DEMO_DIR/passwords/$person")
    done

    demo_say "Starting the demo PostgreSQL in $DEMO_DIR/postgres"
    DEMO_FSYNC=${DEMO_FSYNC:-off} ./eng/demo-postgres.sh start "$DEMO_DIR/postgres"
    local first=
    if [ ! -s "$DEMO_DIR/ports" ]; then
        first=yes
        printf '%s %s\n' "$(demo_free_port)" "$(demo_free_port)" > "$DEMO_DIR/ports"
    fi
    read -r DEMO_HTTP_PORT DEMO_GATEWAY_PORT < "$DEMO_DIR/ports"

    demo_say "Starting the standalone host (identity, policy, approval, recorder, proxy)"
    demo_host_start
    if [ -n "$first" ] || [ ! -e "$DEMO_DIR/seeded" ]; then demo_seed "$policies"; fi
    if [ "$(cat "$DEMO_DIR/seeded")" != "$(cat "$DEMO_DIR/postgres/port")" ]; then
        # The demo server found another free port this time: a connection is re-pointed by a change that somebody else approves.
        demo_say "Registering the demo server's new port"
        for person in "${DEMO_PEOPLE[@]}"; do demo_login "$person"; done
        demo_connections
        cat "$DEMO_DIR/postgres/port" > "$DEMO_DIR/seeded"
    fi
}

# Registers a connection to the demo server: alice asks, bob approves.
demo_connection() {
    local name=$1 request
    request=$(demo_cli alice connections add "$name" --host 127.0.0.1 --port "$(cat "$DEMO_DIR/postgres/port")" --database shop --user shop_app --password-stdin \
        --tls disable --label env=demo --reason "the demo's shop database" --output json < "$DEMO_DIR/postgres/app-password" | demo_request)
    demo_cli bob approve "$request" --yes > "$DEMO_DIR/last-approval"
    demo_cli alice request wait "$request" > /dev/null
}

demo_connections() {
    local name
    for name in "${DEMO_CONNECTIONS[@]}"; do demo_connection "$name"; done
}

demo_seed() {
    local policies=$1 person request
    demo_say "Bootstrap: alice is the first person, named by a one-time token that only this host can read"
    demo_login alice
    demo_cli alice bootstrap --token-file "$DEMO_DIR/data/bootstrap-token"
    # The token of before doesn't say that she is the first person.
    demo_login alice
    for person in bob carol; do demo_login "$person"; done

    demo_say "Alice enrols bob as the second person; from now on nobody changes what is enforced alone"
    request=$(demo_cli alice persons enrol "$(demo_person bob)" --reason "second person" --output json | demo_request)
    demo_cli alice approve "$request" --yes > "$DEMO_DIR/last-approval"
    demo_wait_for "bob is enrolled" demo_enrolled bob
    demo_login bob
    request=$(demo_cli alice persons enrol "$(demo_person carol)" --reason "third person" --output json | demo_request)
    demo_cli bob approve "$request" --yes > "$DEMO_DIR/last-approval"
    demo_wait_for "carol is enrolled" demo_enrolled carol
    demo_login carol

    demo_say "Alice registers the database (its password is sealed to the proxy before it leaves the CLI); bob approves"
    demo_connections
    demo_say "Alice proposes the policies of $policies; bob approves"
    request=$(demo_cli alice policy apply "$policies" --reason "starter policies" --output json | demo_request)
    demo_cli bob approve "$request" --yes > "$DEMO_DIR/last-approval"
    demo_cli alice request wait "$request" > /dev/null
    cat "$DEMO_DIR/postgres/port" > "$DEMO_DIR/seeded"
}

demo_enrolled() { demo_cli alice persons --output json | jq -e --arg name "$1@example.com" '(if type == "array" then . else [.] end)[] | select(.name == $name and .enrolled)' > /dev/null; }

# Waits until a command succeeds.
demo_wait_for() {
    local what=$1 tries
    shift
    for tries in $(seq 100); do
        if "$@"; then return 0; fi
        sleep 0.2
    done
    demo_fail "$what: not after $tries tries"
}

demo_credential() { demo_cli "$1" credentials create '*' --output json | jq -r '.credential.userName, .secret'; }

demo_stop() {
    if [ -n "$DEMO_HOST_PID" ]; then
        kill "$DEMO_HOST_PID" 2> /dev/null || true
        wait "$DEMO_HOST_PID" 2> /dev/null || true
        DEMO_HOST_PID=
    fi
    [ -z "$DEMO_DIR" ] || ./eng/demo-postgres.sh stop "$DEMO_DIR/postgres" || true
}
