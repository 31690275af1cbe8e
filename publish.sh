#!/usr/bin/env bash
# Puts into one folder everything that a Linux machine (x64, glibc) without .NET and NuGet needs to run Countersign: one runtime, the services, the
# standalone host, the CLI, components/, cluster.sh and the distributed tests. It is what a release ships.
#   ./publish.sh DIR      DIR must be empty or not exist
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

[ $# -eq 1 ] && [ -n "$1" ] && [ "${1#-}" = "$1" ] || { echo "usage: ./publish.sh DIR" >&2; exit 2; }
target=$(realpath -m "$1")
if [ -e "$target" ] && [ -n "$(ls -A "$target" 2> /dev/null || echo file)" ]; then
    echo "publish.sh: $target is not empty; name another folder" >&2
    exit 2
fi
cd "$root"

LIMIT_MB=250
# PROJECT PROGRAM
programs=(
    hosts/standalone:Countersign.Standalone
    hosts/entrance:Countersign.Entrance
    services/identity/Host:Countersign.Identity.Host
    services/policy/Host:Countersign.Policy.Host
    services/approval/Host:Countersign.Approval.Host
    services/recorder/Host:Countersign.Recorder.Host
    services/proxy/Host:Countersign.Proxy.Host
    cli:countersign
)
suite=tests/distributed
if compgen -G "$suite/*.Tests.csproj" > /dev/null; then
    programs+=("$suite:$(basename "$(compgen -G "$suite/*.Tests.csproj")" .csproj)")
fi

say() { printf '== %s\n' "$*"; }
fail() { echo "publish.sh: $*" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_GENERATE_ASPNET_CERTIFICATE=false

# A build of its own, so that the usual one isn't left with programs that look for their runtime in another place.
build=$root/artifacts/publish
revision=$(git rev-parse HEAD 2> /dev/null || echo unknown)
mkdir -p "$target/app" "$target/dotnet"
for each in "${programs[@]}"; do
    project=${each%%:*} program=${each##*:}
    say "Publishing $program"
    rm -rf "$work/out"
    dotnet publish "$project" -c Release -r linux-x64 --no-self-contained -v q -nologo -o "$work/out" \
        -p:ArtifactsPath="$build" -p:DebugType=none -p:GenerateDocumentationFile=false -p:SourceRevisionId="$revision" \
        -p:AppHostDotNetSearch=AppRelative -p:AppHostRelativeDotNet=../dotnet
    [ -x "$work/out/$program" ] || fail "$project has built no $program"
    # All programs share one folder: what two of them bring must be the same file.
    while IFS= read -r -d '' file; do
        relative=${file#"$work/out/"}
        if [ -e "$target/app/$relative" ]; then
            cmp -s "$file" "$target/app/$relative" || fail "$relative of $program differs from the one of an earlier program: name one version of its package in Directory.Packages.props"
        else
            mkdir -p "$(dirname "$target/app/$relative")"
            mv "$file" "$target/app/$relative"
        fi
    done < <(find "$work/out" -type f ! -name 'web.config' ! -name '*.pdb' ! -name '*.xml' -print0)
done

say "Adding the runtime"
dotnet=$(dirname "$(readlink -f "$(command -v dotnet)")")
newest() { find "$1" -mindepth 1 -maxdepth 1 -name '10.*' -printf '%f\n' | sort -V | tail -n 1; }
runtime=$(newest "$dotnet/shared/Microsoft.NETCore.App")
web=$(newest "$dotnet/shared/Microsoft.AspNetCore.App")
[ -n "$runtime" ] && [ -n "$web" ] || fail "no .NET 10 runtime in $dotnet/shared"
mkdir -p "$target/dotnet/shared/Microsoft.NETCore.App" "$target/dotnet/shared/Microsoft.AspNetCore.App" "$target/dotnet/host/fxr"
cp "$dotnet/dotnet" "$target/dotnet/"
cp -r "$dotnet/shared/Microsoft.NETCore.App/$runtime" "$target/dotnet/shared/Microsoft.NETCore.App/"
cp -r "$dotnet/shared/Microsoft.AspNetCore.App/$web" "$target/dotnet/shared/Microsoft.AspNetCore.App/"
cp -r "$dotnet/host/fxr/$(newest "$dotnet/host/fxr")" "$target/dotnet/host/fxr/"
cp "$dotnet/LICENSE.txt" "$dotnet/ThirdPartyNotices.txt" "$target/dotnet/" 2> /dev/null || fail "the runtime's licence is missing in $dotnet"

say "Adding the PostgreSQL grammar, components/ and the scripts"
library=$(./eng/install-libpg-query.sh | tail -n 1)
cp -L "$library" "$target/app/"
cp -r components "$target/components"
cp cluster.sh "$target/"
mkdir -p "$target/eng" "$target/policies"
cp eng/secrets.sh "$target/eng/"
cp -r policies/starter "$target/policies/starter"
cp -r docs deploy "$target/"

for each in "${programs[@]}"; do
    program=${each##*:}
    case $program in *.Tests) continue ;; esac
    ln -s "app/$program" "$target/$program"
done
version=$(sed -nE 's:.*<Version>(.*)</Version>.*:\1:p' Directory.Build.props)
printf '%s\n' "$version" > "$target/VERSION"
suite_program=
for each in "${programs[@]}"; do case $each in *.Tests) suite_program=${each##*:} ;; esac; done
if [ -n "$suite_program" ]; then
    cat > "$target/distributed-tests.sh" << TEXT
#!/usr/bin/env bash
# The distributed suite against the real Dapr binaries of \$DAPR_BIN or PATH (daprd, placement, scheduler, sentry). What can't be proved is skipped, and says why.
set -euo pipefail
here=\$(cd "\$(dirname "\${BASH_SOURCE[0]}")" && pwd)
export COUNTERSIGN_BIN="\$here/app" COUNTERSIGN_HOME="\$here"
exec "\$here/app/$suite_program" -noColor "\$@"
TEXT
    chmod 755 "$target/distributed-tests.sh"
fi
suite_text='This build has no distributed suite.'
[ -z "$suite_program" ] || suite_text='    DAPR_BIN=/opt/dapr ./distributed-tests.sh

runs the distributed suite against the Dapr 1.18 binaries in that folder (or on PATH); without them it says what is not proved. It needs PostgreSQL 15 or
newer (initdb on the machine); and openssl.'
cat > "$target/README" << TEXT
Countersign $version, for Linux x64 with glibc. Nothing has to be installed for .NET: dotnet/ is its runtime, app/ the programs, and they find one another.
.NET itself needs libstdc++6, libssl3 and zlib1g of the distribution.

    ./Countersign.Standalone               all services in one process; it lists the options that it misses
    ./countersign --help                   the command line
    DAPR_BIN=/opt/dapr ./cluster.sh up     all services apart, with sidecars; ./cluster.sh alone says what it can do

The distributed tests, in one command:

$suite_text

components/ has the Dapr resources (README.md there), policies/starter the policies to start from, docs/operations how to run it, deploy/observability alerts and
a dashboard.
TEXT

size=$(du -sm --apparent-size "$target" | cut -f 1)
say "$target: $size MB"
[ "$size" -lt "$LIMIT_MB" ] || fail "$size MB are over the limit of $LIMIT_MB MB"
