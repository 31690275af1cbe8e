# shellcheck shell=bash
# The story that quickstart.sh --check plays, after demo_start: every step says what it expects and fails if it isn't so.

# Runs psql through `countersign connect` as a person: $1 person, the rest for psql. Output in $story_out.
story_psql() {
    local person=$1
    shift
    timeout 60 env COUNTERSIGN_CONFIG="$DEMO_DIR/cli/$person" COUNTERSIGN_SERVER="http://127.0.0.1:$DEMO_HTTP_PORT" \
        "$DEMO_CLI" connect shop -- -X -q "$@" > "$DEMO_DIR/out" 2>&1
}

story_expect() { # TEXT: the last output has it
    grep -qF -- "$1" "$DEMO_DIR/out" || { cat "$DEMO_DIR/out"; demo_fail "expected: $1"; }
}

story_expect_not() {
    ! grep -qF -- "$1" "$DEMO_DIR/out" || { cat "$DEMO_DIR/out"; demo_fail "must not appear: $1"; }
}

# What the database itself says, past the gateway.
story_truth() {
    PGPASSWORD=$(cat "$DEMO_DIR/postgres/app-password") psql -X -q -A -t "host=127.0.0.1 port=$(cat "$DEMO_DIR/postgres/port") user=shop_app dbname=shop sslmode=disable" -c "$1"
}

story_pending() { demo_cli bob requests --to-decide --output json | jq -e 'length > 0' > /dev/null; }

story() {
    local request delete="delete from orders where state = 'cancelled'"

    demo_say "A harmless query passes"
    story_psql alice -A -t -c "select name, city from customers where id = 1"
    story_expect "Ada Young|London"

    demo_say "Sensitive columns come back masked"
    story_psql alice -c "select id, name, email, ssn, card from customers order by id"
    story_expect "Ada Young"
    story_expect_not "078-05-1120"
    story_expect_not "ada@example.com"
    story_expect_not "4111 1111 1111 1111"

    demo_say "DROP DATABASE is blocked, in PostgreSQL's own words, and 'why' tells the rule"
    if story_psql alice -v VERBOSITY=verbose -c "drop database shop"; then demo_fail "drop database went through"; fi
    story_expect "42501"
    demo_cli alice why > "$DEMO_DIR/out"
    story_expect "drop database shop"

    demo_say "A DELETE is held: alice's psql waits"
    [ "$(story_truth "select count(*) from orders where state = 'cancelled'")" = 2 ] || demo_fail "the demo data is not as seeded"
    (story_psql alice -c "$delete") &
    local held=$!
    demo_wait_for "the DELETE is pending" story_pending
    request=$(demo_cli bob requests --to-decide --output json | jq -r '.[0].id')
    demo_cli bob request show "$request" > "$DEMO_DIR/shown"
    grep -qF "$delete" "$DEMO_DIR/shown" || { cat "$DEMO_DIR/shown"; demo_fail "the approver is not shown the exact text"; }
    [ "$(story_truth "select count(*) from orders where state = 'cancelled'")" = 2 ] || demo_fail "the DELETE ran without approval"

    demo_say "Alice can't approve her own request"
    if demo_cli alice approve "$request" --yes > "$DEMO_DIR/out" 2>&1; then demo_fail "self-approval was taken"; fi

    demo_say "The host is killed with -9 and started again: the request is still pending"
    demo_host_kill
    wait "$held" 2> /dev/null || true
    demo_host_start
    demo_wait_for "the request survived" story_pending

    demo_say "Bob approves; alice runs the same again and it goes through, once"
    demo_cli bob approve "$request" --yes > "$DEMO_DIR/out"
    story_expect "$request"
    story_psql alice -c "$delete" -c "select 'left: ' || count(*) from orders where state = 'cancelled'"
    [ "$(story_truth "select count(*) from orders where state = 'cancelled'")" = 0 ] || { cat "$DEMO_DIR/out"; demo_fail "the approved DELETE did not run"; }
    (story_psql alice -c "$delete") &
    held=$!
    demo_wait_for "the third run is held anew" story_pending
    request=$(demo_cli bob requests --to-decide --output json | jq -r '.[0].id')
    demo_cli bob deny "$request" --yes --comment "once is enough" > "$DEMO_DIR/denied"
    wait "$held" && demo_fail "a denied DELETE succeeded"
    story_expect "once is enough"

    demo_say "The session can be replayed"
    demo_wait_for "the recorder knows the session" story_recorded
    local session
    session=$(demo_cli bob operations --text "delete from orders" --output json | jq -r '[.[] | select(.decision == "approved")][0].session')
    demo_cli bob replay "$session" > "$DEMO_DIR/out"
    story_expect "$delete"
    story_expect "bob"

    demo_say "The evidence verifies offline"
    demo_cli bob export --file "$DEMO_DIR/evidence.jsonl"
    demo_cli bob key > "$DEMO_DIR/recorder.pub"
    demo_cli bob verify "$DEMO_DIR/evidence.jsonl" --key "$DEMO_DIR/recorder.pub" > "$DEMO_DIR/out" || { cat "$DEMO_DIR/out"; demo_fail "the export does not verify"; }

    demo_say "One byte of the export is flipped: verify names the entry"
    story_flip "$DEMO_DIR/evidence.jsonl"
    if demo_cli bob verify "$DEMO_DIR/evidence.jsonl" --key "$DEMO_DIR/recorder.pub" > "$DEMO_DIR/out" 2>&1; then cat "$DEMO_DIR/out"; demo_fail "a changed export verifies"; fi
    cat "$DEMO_DIR/out"
    grep -Eq '[Ee]ntry|[Pp]osition|[Ii]ndex' "$DEMO_DIR/out" || demo_fail "the changed entry is not named"
}

story_recorded() { demo_cli bob operations --text "delete from orders" --output json | jq -e '[.[] | select(.decision == "approved" and .outcome == "ok")] | length > 0' > /dev/null; }

# Changes one character in the middle of a file to another one of the same kind.
story_flip() {
    local file=$1 size offset byte
    size=$(stat -c %s "$file")
    offset=$((size / 2))
    while :; do
        byte=$(dd if="$file" bs=1 skip="$offset" count=1 2> /dev/null)
        case $byte in
            [a-y]) break ;;
            *) offset=$((offset + 1)) ;;
        esac
    done
    printf '%s' "$byte" | tr 'a-y' 'b-z' | dd of="$file" bs=1 seek="$offset" conv=notrunc 2> /dev/null
}
