#!/usr/bin/env bash
# Installs what Countersign needs on Debian, once: `demo` for quickstart.sh, `tests` for test.sh, `bench` for bench.sh, `cluster` for cluster.sh (which needs
# Dapr's programs too; Debian has none). Says what it does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

need=()
want() { # PROGRAM PACKAGE...: remembers the packages if the program is missing
    local program=$1
    shift
    if ! command -v "$program" > /dev/null 2>&1 && [ ! -x "$program" ]; then need+=("$@"); fi
}

what=${1:-}
case $what in
    demo | tests | bench | cluster) ;;
    *) echo "usage: eng/install.sh demo|tests|bench|cluster" >&2; exit 2 ;;
esac

command -v dotnet > /dev/null || { echo "The .NET 10 SDK is missing: install it first (dotnet on PATH)." >&2; exit 1; }
want psql postgresql-client
if ! compgen -G '/usr/lib/postgresql/*/bin/initdb' > /dev/null; then need+=(postgresql); fi
want curl curl
want jq jq
want runuser util-linux
if [ "$what" = bench ]; then want pgbouncer pgbouncer; fi
if [ "$what" = tests ]; then
    want glewlwyd glewlwyd
    want /usr/sbin/exim4 exim4-daemon-light
    want node nodejs
    want npm npm
fi
if [ "$what" = tests ] || [ "$what" = cluster ]; then
    want redis-server redis-server
    want openssl openssl
fi

if [ ${#need[@]} -gt 0 ]; then
    echo "Installing Debian packages: ${need[*]}"
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    # The demo and the tests start servers of their own; the package must not start or create one.
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${need[@]}" > /dev/null
fi

./eng/install-libpg-query.sh

if [ "$what" = tests ]; then
    # node-postgres, from the registry that npm is set up with. The lock file says which files, by their hashes; what is there already is left alone.
    node=tests/fakes/node
    if ! cmp -s "$node/package-lock.json" "$node/node_modules/.installed"; then
        echo "Installing node-postgres for the tests"
        (cd "$node" && npm ci --ignore-scripts --no-audit --no-fund --silent)
        cp "$node/package-lock.json" "$node/node_modules/.installed"
    fi
fi
