#!/usr/bin/env bash
# Makes the secrets of a cluster, once: passwords, tokens, certificates. Nothing that is there already is changed, so it can run again.
#   eng/secrets.sh DIR [--postgres HOST:PORT] [--redis HOST:PORT] [--containers] [--people NAME,NAME]
# DIR gets mode 0700, files 0600. --containers: files 0644 within the 0700 folder, because Docker mounts each with the owner it has on the host, and programs in
# containers run as somebody else; addresses are those of docker-compose.yml, and PostgreSQL gets a certificate. --people: passwords for the development issuer.
set -euo pipefail
umask 077

usage() { echo "usage: eng/secrets.sh DIR [--postgres HOST:PORT] [--redis HOST:PORT] [--containers] [--people NAME,NAME]" >&2; exit 2; }
[ $# -ge 1 ] && [ "${1#-}" = "$1" ] || usage
dir=$(realpath -m "$1")
shift
postgres=127.0.0.1:5432 redis=127.0.0.1:6379 containers='' people=''
while [ $# -gt 0 ]; do
    case $1 in
        --postgres) postgres=${2:?$(usage)}; shift 2 ;;
        --redis) redis=${2:?$(usage)}; shift 2 ;;
        --people) people=${2:?$(usage)}; shift 2 ;;
        --containers) containers=yes postgres=postgres:5432 redis=redis:6379; shift ;;
        *) usage ;;
    esac
done
command -v openssl > /dev/null || { echo "secrets.sh: openssl is missing" >&2; exit 1; }

SERVICES=(identity policy approval recorder proxy)
# Who has a database of its own; approval has one for what is not in an actor.
DATABASES=(identity policy approval recorder state)
mkdir -p "$dir"
chmod 700 "$dir"

made=()
# Letters and digits only: nothing in it must be quoted anywhere.
random() { openssl rand -base64 48 | tr -dc 'A-Za-z0-9' | head -c 40; }
secret() { # NAME: a random secret
    [ -s "$dir/$1" ] && return
    random > "$dir/$1.new"
    [ "$(wc -c < "$dir/$1.new")" -eq 40 ] || { echo "secrets.sh: openssl gave no random bytes" >&2; exit 1; }
    mv "$dir/$1.new" "$dir/$1"
    made+=("$1")
}
write() { # NAME: standard input, replaced as a whole
    cat > "$dir/$1.new"
    mv "$dir/$1.new" "$dir/$1"
}

secret postgres-password
secret redis-password
for app in "${DATABASES[@]}"; do secret "database-$app-password"; done
for app in identity policy approval recorder; do secret "database-$app-owner-password"; done
for app in "${SERVICES[@]}"; do
    secret "$app-dapr-api-token"
    secret "$app-app-api-token"
done
if [ -n "$people" ]; then
    for name in ${people//,/ }; do
        [[ $name =~ ^[a-z][a-z0-9]*$ ]] || usage
        secret "person-$name"
    done
fi

# The certificate authority of the sidecars (sentry issues from it), and of PostgreSQL where it isn't on loopback.
authority() { # NAME SUBJECT
    [ -s "$dir/$1.key" ] && [ -s "$dir/$1.crt" ] && return
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=$2" -addext "basicConstraints=critical,CA:TRUE" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout "$dir/$1.key.new" -out "$dir/$1.crt.new" 2> /dev/null
    mv "$dir/$1.key.new" "$dir/$1.key"
    mv "$dir/$1.crt.new" "$dir/$1.crt"
    made+=("$1.crt")
}
issue() { # NAME AUTHORITY SUBJECT DAYS EXTENSIONS
    [ -s "$dir/$1.key" ] && [ -s "$dir/$1.crt" ] && openssl x509 -in "$dir/$1.crt" -checkend 2592000 -noout > /dev/null && return
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$3" -keyout "$dir/$1.key.new" -out "$dir/$1.csr" 2> /dev/null
    openssl x509 -req -in "$dir/$1.csr" -CA "$dir/$2.crt" -CAkey "$dir/$2.key" -days "$4" -set_serial "0x$(openssl rand -hex 16)" \
        -extfile <(printf '%b' "$5") -out "$dir/$1.crt.new" 2> /dev/null
    rm -f "$dir/$1.csr"
    mv "$dir/$1.key.new" "$dir/$1.key"
    mv "$dir/$1.crt.new" "$dir/$1.crt"
    made+=("$1.crt")
}
authority dapr-ca "Countersign sidecars"
issue dapr-issuer dapr-ca "Countersign sentry" 730 "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign,digitalSignature\n"
if [ -n "$containers" ]; then
    authority postgres-ca "Countersign PostgreSQL"
    issue postgres postgres-ca postgres 730 "basicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:postgres,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"
fi

# The log's key, an Ed25519 signer for notes (https://c2sp.org/signed-note): replicas of the recorder sign one log, and so with one key.
if [ ! -s "$dir/recorder-log.key" ]; then
    origin=countersign.local/recorder
    openssl genpkey -algorithm ED25519 -outform DER -out "$dir/recorder-log.der"
    hash=$({ printf '%s\n\001' "$origin"; openssl pkey -inform DER -in "$dir/recorder-log.der" -pubout -outform DER | tail -c 32; } | openssl dgst -sha256 -binary | head -c 4 | od -An -tx1 | tr -d ' \n')
    write recorder-log.key <<< "PRIVATE+KEY+$origin+$hash+$({ printf '\001'; tail -c 32 "$dir/recorder-log.der"; } | base64 -w 0)"
    rm -f "$dir/recorder-log.der"
    made+=(recorder-log.key)
fi

# Everything below is made of the above.
host=${postgres%:*} port=${postgres##*:}
tls='' go_tls='sslmode=disable'
if [ -n "$containers" ]; then
    tls=';SSL Mode=VerifyFull;Root Certificate=/run/secrets/postgres-ca.crt'
    go_tls='sslmode=verify-full sslrootcert=/run/secrets/postgres-ca.crt'
fi
for app in identity policy approval recorder; do
    write "$app-connection" <<< "Host=$host;Port=$port;Database=countersign_$app;Username=countersign_$app;Password=$(< "$dir/database-$app-password")$tls"
    write "$app-owner-connection" <<< "Host=$host;Port=$port;Database=countersign_$app;Username=countersign_${app}_owner;Password=$(< "$dir/database-$app-owner-password")$tls"
done
{
    printf 'revoke all on database postgres from public;\n'
    for app in "${DATABASES[@]}"; do
        owner=countersign_${app}_owner
        [ "$app" != state ] || owner=countersign_state
        for role in "$owner" "countersign_$app"; do
            kind=owner-password
            [ "$role" != "countersign_$app" ] || kind=password
            printf "select format('create role %%I', '%s') where not exists (select from pg_roles where rolname = '%s') \\\\gexec\n" "$role" "$role"
            printf "alter role %s login nosuperuser nocreatedb nocreaterole password '%s';\n" "$role" "$(< "$dir/database-$app-$kind")"
        done
        printf "select format('create database %%I owner %%I', 'countersign_%s', '%s') where not exists (select from pg_database where datname = 'countersign_%s') \\\\gexec\n" "$app" "$owner" "$app"
        printf 'revoke all on database countersign_%s from public;\ngrant connect on database countersign_%s to countersign_%s;\n' "$app" "$app" "$app"
    done
} | write postgres-init.sql
for app in "${SERVICES[@]}"; do
    # A sidecar knows what it needs, and what its own service may ask it for.
    {
        printf '{\n  "redis-password": "%s"' "$(< "$dir/redis-password")"
        [ "$app" != approval ] || printf ',\n  "state-connection": "host=%s port=%s user=countersign_state password=%s dbname=countersign_state %s"' "$host" "$port" "$(< "$dir/database-state-password")" "$go_tls"
        [ ! -s "$dir/$app-connection" ] || printf ',\n  "%s-connection": "%s"' "$app" "$(< "$dir/$app-connection")"
        printf '\n}\n'
    } | write "$app-sidecar.json"
    # The one secret that goes by environment: Dapr reads it nowhere else.
    write "$app.env" <<< "DAPR_API_TOKEN=$(< "$dir/$app-dapr-api-token")
APP_API_TOKEN=$(< "$dir/$app-app-api-token")"
done
[ -e "$dir/target-credentials.json" ] || write target-credentials.json <<< '{}'
printf 'DAPR_TRUST_ANCHORS="%s"\n' "$(< "$dir/dapr-ca.crt")" | write trust.env
# Redis: one user, who may do what streams need, in any key; nothing administrative.
write redis.acl <<< "user default off
user countersign on >$(< "$dir/redis-password") ~* &* +@stream +@connection +@read +@write +@transaction +@keyspace -@dangerous -@admin +info +cluster|nodes +cluster|info"
write redis-address <<< "$redis"
if [ -n "$people" ]; then
    index=0
    for name in ${people//,/ }; do
        printf 'Countersign__DevIssuer__Users__%s__Name=%s\nCountersign__DevIssuer__Users__%s__Email=%s@example.com\nCountersign__DevIssuer__Users__%s__Password=%s\nCountersign__DevIssuer__Users__%s__Groups__0=engineers\n' \
            "$index" "$name" "$index" "$name" "$index" "$(< "$dir/person-$name")" "$index"
        index=$((index + 1))
    done | write people.env
fi
mode=600
[ -z "$containers" ] || mode=644
find "$dir" -mindepth 1 -maxdepth 1 -type f -exec chmod "$mode" {} +
# Never needed by a program that runs.
chmod 600 "$dir"/*-ca.key
if [ ${#made[@]} -gt 0 ]; then echo "Made in $dir: ${made[*]}"; else echo "$dir: everything was there."; fi
