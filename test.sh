#!/usr/bin/env bash
# Runs the tests: all default groups, or those that are named. Installs what they need. Ends with `N passed, N failed, N skipped`.
#   ./test.sh [GROUP...]      groups: unit postgres approval evidence distributed ssh identity attacks faults (default), soak fuzz
# A project in which something failed is run once more, and counts as it then ends; what failed the first time is shown, and named again at the end as FLAKY.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

DEFAULT_GROUPS=(unit postgres approval evidence distributed ssh identity attacks faults)
ALL_GROUPS=("${DEFAULT_GROUPS[@]}" soak fuzz)
groups=("$@")
[ ${#groups[@]} -gt 0 ] || groups=("${DEFAULT_GROUPS[@]}")
for group in "${groups[@]}"; do
    if [[ ! " ${ALL_GROUPS[*]} " == *" $group "* ]]; then
        echo "test.sh: there is no group '$group' (groups: ${ALL_GROUPS[*]})" >&2
        exit 2
    fi
done

say() { printf '\n== %s\n' "$*"; }

say "Installing what the tests need"
./eng/install.sh tests || { echo "test.sh: the installation failed" >&2; echo "0 passed, 1 failed, 0 skipped"; exit 1; }

say "Building"
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
if ! dotnet build Countersign.slnx -v q -nologo; then
    echo "test.sh: the build failed" >&2
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi

traits=()
for group in "${groups[@]}"; do traits+=(-trait "group=$group"); done
# A test may be in two groups: of a project, and of its own.
for group in soak fuzz; do
    [[ " ${groups[*]} " == *" $group "* ]] || traits+=(-trait- "group=$group")
done

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
passed=0 failed=0 skipped=0 flaky=()
run() { # NAME: leaves its exit code in $code and its log
    timeout 1500 "artifacts/bin/$1/debug/$1" "${traits[@]}" -noColor -jUnit "$results/$1.xml" > "$results/$1.log" 2>&1
    code=$?
}
for project in $(find tests -name '*.Tests.csproj' | sort); do
    name=$(basename "$project" .csproj)
    say "$name (${groups[*]})"
    run "$name"
    if [ "$code" -ne 0 ]; then
        cat "$results/$name.log"
        mapfile -t first < <(grep -oE '[A-Za-z0-9_.]+Tests\.[A-Za-z0-9_]+.*\[FAIL\]' "$results/$name.log")
        say "$name once more"
        run "$name"
        if [ "$code" -eq 0 ]; then flaky+=("${first[@]:-$name ended with no summary}"); fi
    fi
    # The last line of the summary has the counts; a run that died before it has none and counts as failed.
    summary=$(grep -E 'Total: [0-9]+, Errors:' "$results/$name.log" | tail -n 1)
    if [ -z "$summary" ] && [ "$code" -eq 0 ] && grep -qE 'Total: 0$' "$results/$name.log"; then
        # None of its tests is in these groups.
        continue
    fi
    if [ -z "$summary" ]; then
        cat "$results/$name.log"
        echo "$name ended with exit code $code and no summary"
        failed=$((failed + 1))
        continue
    fi
    number() { sed -E "s/.*$1: ([0-9]+).*/\1/" <<< "$summary"; }
    total=$(number Total) errors=$(number Errors) fails=$(number Failed) skips=$(number Skipped) notrun=$(number 'Not Run')
    if [ "$code" -ne 0 ] || [ "$errors" -ne 0 ] || [ "$fails" -ne 0 ]; then
        cat "$results/$name.log"
    else
        grep -E '\[SKIP\]' -A 1 "$results/$name.log" || true
        echo "$summary"
    fi
    bad=$((fails + errors))
    if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    failed=$((failed + bad))
    skipped=$((skipped + skips))
    passed=$((passed + total - fails - skips - notrun))
done

for each in "${flaky[@]}"; do echo "FLAKY: $each"; done
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
