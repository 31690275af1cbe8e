#!/usr/bin/env bash
# A PostgreSQL of the demo's own: own data directory, loopback only, a free port, SCRAM passwords, sample data.
#   eng/demo-postgres.sh start DIR    makes it if it isn't there, starts it; writes DIR/port and DIR/app-password
#   eng/demo-postgres.sh stop DIR     stops it
set -euo pipefail

usage() { echo "usage: eng/demo-postgres.sh start|stop DIR" >&2; exit 2; }
[ $# -eq 2 ] || usage
action=$1
dir=$(realpath -m "$2")
bin=$(dirname "$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1)")

# PostgreSQL refuses to run as root: root hands the server to the user postgres.
as_server() {
    if [ "$(id -u)" -eq 0 ]; then
        (cd / && runuser -u postgres -- "$@")
    else
        "$@"
    fi
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2> /dev/null || shuf -i 20000-30000 -n 1; }
secret() { head -c 24 /dev/urandom | base64 | tr '+/' 'ab'; }

running() { [ -f "$dir/data/postmaster.pid" ] && as_server "$bin/pg_ctl" -D "$dir/data" status > /dev/null 2>&1; }

start() {
    if running; then return; fi
    mkdir -p "$dir"
    if [ ! -f "$dir/app-password" ]; then
        [ ! -e "$dir/data" ] || { echo "$dir/data is half made; remove $dir and start again." >&2; exit 1; }
        (umask 077 && secret > "$dir/admin-password" && secret > "$dir/app-password.new")
        [ "$(id -u)" -ne 0 ] || chown postgres: "$dir" "$dir/admin-password"
        as_server "$bin/initdb" -D "$dir/data" -U postgres -E UTF8 --locale=C.UTF-8 -A scram-sha-256 --pwfile="$dir/admin-password" --no-sync > "$dir/initdb.log"
    fi
    # A port can be taken between the moment it was found free and its use: try a few.
    for attempt in 1 2 3; do
        free_port > "$dir/port"
        if as_server "$bin/pg_ctl" -D "$dir/data" -w -t 30 -l "$dir/data/server.log" start \
            -o "-c listen_addresses=127.0.0.1 -c port=$(cat "$dir/port") -c unix_socket_directories='' -c fsync=${DEMO_FSYNC:-off} -c max_connections=200" > /dev/null; then
            break
        fi
        [ "$attempt" -lt 3 ] || { tail -n 20 "$dir/data/server.log" >&2; exit 1; }
    done
    if [ -f "$dir/app-password.new" ]; then
        seed
        mv "$dir/app-password.new" "$dir/app-password"
    fi
}

seed() {
    local password
    password=$(cat "$dir/app-password.new")
    PGPASSWORD=$(cat "$dir/admin-password") psql -X -q -v ON_ERROR_STOP=1 "host=127.0.0.1 port=$(cat "$dir/port") user=postgres dbname=postgres sslmode=disable" << SQL
create role shop_app login password '$password';
create database shop owner shop_app;
SQL
    PGPASSWORD=$password psql -X -q -v ON_ERROR_STOP=1 "host=127.0.0.1 port=$(cat "$dir/port") user=shop_app dbname=shop sslmode=disable" << 'SQL'
create table customers (id int primary key, name text not null, email text not null, ssn text not null, card text, city text not null);
create table orders (id int primary key, customer_id int not null references customers, item text not null, amount numeric(10, 2) not null, state text not null);
insert into customers values
    (1, 'Ada Young', 'ada@example.com', '078-05-1120', '4111 1111 1111 1111', 'London'),
    (2, 'Ben Okafor', 'ben@example.com', '219-09-9999', '5500 0000 0000 0004', 'Lagos'),
    (3, 'Chloe Martin', 'chloe@example.com', '457-55-5462', '3400 0000 0000 009', 'Paris'),
    (4, 'Dev Patel', 'dev@example.com', '212-09-9999', null, 'Mumbai');
insert into orders values
    (1, 1, 'keyboard', 79.00, 'shipped'), (2, 1, 'monitor', 249.50, 'shipped'), (3, 2, 'mouse', 24.90, 'cancelled'),
    (4, 3, 'desk', 410.00, 'open'), (5, 4, 'lamp', 39.90, 'cancelled');
create view customer_contacts as select id, name, email from customers;
SQL
}

stop() {
    if running; then as_server "$bin/pg_ctl" -D "$dir/data" -m fast -w -t 30 stop > /dev/null; fi
}

case $action in
    start) start ;;
    stop) stop ;;
    *) usage ;;
esac
