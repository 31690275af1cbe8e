#!/usr/bin/env bash
# Installs libpg_query, the PostgreSQL grammar as a library, for the proxy and the tests.
# Wanted: version 17 of Debian trixie, which runs on bookworm too (it needs libc6 >= 2.34 only). It is fetched by a private apt
# configuration, so that the machine never sees the rest of trixie, and unpacked into a folder of our own. Else bookworm's version 15.
# Idempotent, and without network where a usable library is there. Prints the path of the library on its last line.
set -euo pipefail

soname_17=libpg_query.so.1706.0
soname_15=libpg_query.so.1504.0
package_17=libpg-query1706.0
package_15=libpg-query1504.0
folder="${COUNTERSIGN_LIB_DIR:-${HOME:-/root}/.cache/countersign/lib}"

say() { echo "libpg_query: $*" >&2; }

if [ -n "${COUNTERSIGN_LIBPG_QUERY:-}" ]; then
  [ -f "$COUNTERSIGN_LIBPG_QUERY" ] || { say "COUNTERSIGN_LIBPG_QUERY names $COUNTERSIGN_LIBPG_QUERY, which does not exist"; exit 1; }
  say "using $COUNTERSIGN_LIBPG_QUERY (COUNTERSIGN_LIBPG_QUERY)"
  echo "$COUNTERSIGN_LIBPG_QUERY"
  exit 0
fi

system_library() { # soname -> path on stdout, if the system has it
  ldconfig -p 2>/dev/null | awk -v name="$1" '$1 == name { print $NF; exit }'
}

for place in "$folder/$soname_17" "/usr/local/lib/countersign/$soname_17" "$(system_library "$soname_17")"; do
  if [ -n "$place" ] && [ -f "$place" ]; then
    say "already there: $place"
    echo "$place"
    exit 0
  fi
done

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# The machine's own Debian source, with another suite. Both formats of apt; the address never stands in this repository.
write_source() {
  local file uri keyring
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -f "$file" ] || continue
    uri="$(awk 'tolower($1) == "uris:" && $2 ~ /\/debian\/?$/ { print $2; exit }' "$file")"
    [ -n "$uri" ] || continue
    keyring="$(awk 'tolower($1) == "signed-by:" { print $2; exit }' "$file")"
    { echo "Types: deb"; echo "URIs: $uri"; echo "Suites: trixie"; echo "Components: main"
      [ -z "$keyring" ] || echo "Signed-By: $keyring"; } > "$work/parts/trixie.sources"
    return 0
  done
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -f "$file" ] || continue
    uri="$(sed -n -E 's/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+\/debian\/?)[[:space:]].*/\2/p' "$file" | head -n 1)"
    [ -n "$uri" ] || continue
    keyring="$(sed -n -E 's/^deb[[:space:]]+\[[^]]*signed-by=([^] ]+)[^]]*\].*/\1/p' "$file" | head -n 1)"
    echo "deb ${keyring:+[signed-by=$keyring] }$uri trixie main" > "$work/parts/trixie.list"
    return 0
  done
  return 1
}

install_17() {
  # Every step says where it fails: "set -e" has no effect in what is called as part of "||".
  mkdir -p "$work/parts" "$work/lists/partial" "$work/cache/archives/partial" "$work/download" || return 1
  write_source || { say "no Debian source found in /etc/apt"; return 1; }
  chmod -R a+rX "$work"
  local apt=(apt-get -q -o "Dir::Etc::sourcelist=-" -o "Dir::Etc::sourceparts=$work/parts" -o "Dir::State::lists=$work/lists"
    -o "Dir::Cache=$work/cache" -o "APT::Sandbox::User=root" -o "Acquire::Languages=none" -o "Acquire::Retries=2")
  say "fetching $package_17 of trixie by a private apt configuration"
  timeout 180 "${apt[@]}" update > "$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; return 1; }
  (cd "$work/download" && timeout 120 "${apt[@]}" download "$package_17" > "$work/log" 2>&1) || { tail -n 5 "$work/log" >&2; return 1; }
  dpkg -x "$work"/download/"$package_17"_*.deb "$work/unpacked" || return 1
  local found
  found="$(find "$work/unpacked" -type f -name "$soname_17*" | head -n 1)"
  [ -n "$found" ] || { say "the package holds no $soname_17"; return 1; }
  # Renamed into place, so that nobody ever loads half a library.
  mkdir -p "$folder" && install -m 0644 "$found" "$folder/.$soname_17.$$" && mv -f "$folder/.$soname_17.$$" "$folder/$soname_17" \
    || { say "can't write to $folder"; return 1; }
  say "installed $folder/$soname_17"
  echo "$folder/$soname_17"
}

install_15() {
  local path
  path="$(system_library "$soname_15")"
  if [ -z "$path" ]; then
    say "falling back to $package_15 of this suite: its grammar is PostgreSQL 15"
    timeout 180 apt-get -q update > "$work/log" 2>&1 || true
    DEBIAN_FRONTEND=noninteractive timeout 180 apt-get -q install -y --no-install-recommends "$package_15" > "$work/log" 2>&1 \
      || { tail -n 5 "$work/log" >&2; return 1; }
    path="$(system_library "$soname_15")"
  fi
  [ -n "$path" ] || return 1
  say "using $path"
  echo "$path"
}

install_17 || install_15 || {
  say "could be had in neither version: install $package_17 or $package_15, or name the library in COUNTERSIGN_LIBPG_QUERY"
  exit 1
}
