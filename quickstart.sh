#!/usr/bin/env bash
# The main job of Countersign on embedded defaults: a demo PostgreSQL, the standalone host, three people, policies.
#   ./quickstart.sh           starts it, prints what to copy and paste, and runs until Ctrl-C
#   ./quickstart.sh --check   plays the whole story unattended and exits non-zero if any step is not as it should be
# COUNTERSIGN_DEMO names the folder (default ./.countersign/demo); --check uses one of its own and removes it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=eng/demo.sh
. eng/demo.sh

case "${1:-}" in
    "") check= ;;
    --check) check=yes ;;
    *) echo "usage: ./quickstart.sh [--check]" >&2; exit 2 ;;
esac

started=$SECONDS
demo_say "Installing what is missing"
./eng/install.sh demo
demo_say "Building the standalone host and the CLI"
demo_build

if [ -n "$check" ]; then
    dir=$(mktemp -d /tmp/countersign-check.XXXXXX)
    trap 'code=$?; trap - EXIT; [ "$code" -eq 0 ] || [ ! -f "$dir/host.log" ] || { echo "--- host.log"; tail -n 60 "$dir/host.log"; }; demo_stop; rm -rf "$dir"; exit "$code"' EXIT
    # shellcheck source=eng/story.sh
    . eng/story.sh
    demo_start "$dir"
    story
    demo_say "The story went as it should, in $((SECONDS - started)) s"
    exit 0
fi

trap 'trap - EXIT; echo; demo_say "Stopping"; demo_stop' EXIT
trap 'exit 0' INT TERM
demo_start "${COUNTERSIGN_DEMO:-.countersign/demo}"
for person in alice bob; do demo_login "$person"; done

base="http://127.0.0.1:$DEMO_HTTP_PORT"
cli() { printf 'COUNTERSIGN_SERVER=%s COUNTERSIGN_CONFIG=%s/cli/%s %s' "$base" "$DEMO_DIR" "$1" "$DEMO_CLI"; }
cat << TEXT

Countersign runs: $base (log: $DEMO_DIR/host.log). Alice and bob are logged in with the CLI; in a browser they log in as
  alice / $(demo_password alice)
  bob   / $(demo_password bob)

1. Connect as an engineer (psql through the gateway, with a fresh credential):
     $(cli alice) connect shop
   and try:
     select * from customers;                            -- e-mail, SSN and card come back masked
     drop database shop;                                 -- refused
     delete from orders where state = 'cancelled';       -- held until somebody else approves

2. Approve as the second person, in another terminal (or open the link that psql shows):
     $(cli bob) requests
     $(cli bob) approve REQUEST

3. Replay the session:
     $(cli bob) sessions
     $(cli bob) replay SESSION

4. Verify the evidence, offline:
     $(cli bob) export --file evidence.jsonl
     $(cli bob) key > recorder.pub
     $(cli bob) verify evidence.jsonl --key recorder.pub

Why was something refused, and what would pass:
     $(cli alice) why

Ctrl-C stops the host and the demo database; what they hold stays in $DEMO_DIR.
TEXT
wait "$DEMO_HOST_PID"
