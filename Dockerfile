# Images of Countersign, one target each: identity, policy, approval, recorder, proxy, entrance, standalone.
#   docker build --target proxy -t countersign/proxy .
# Base images are pinned by version. Where you build releases, pin them by digest: docker buildx imagetools inspect IMAGE.
FROM mcr.microsoft.com/dotnet/sdk:10.0.401 AS build
WORKDIR /src
COPY global.json Directory.Build.props Directory.Packages.props ./
COPY platform/ platform/
COPY services/ services/
COPY hosts/ hosts/
RUN dotnet publish services/identity/Host -c Release -r linux-x64 --no-self-contained -o /out/identity
RUN dotnet publish services/policy/Host -c Release -r linux-x64 --no-self-contained -o /out/policy
RUN dotnet publish services/approval/Host -c Release -r linux-x64 --no-self-contained -o /out/approval
RUN dotnet publish services/recorder/Host -c Release -r linux-x64 --no-self-contained -o /out/recorder
RUN dotnet publish services/proxy/Host -c Release -r linux-x64 --no-self-contained -o /out/proxy
RUN dotnet publish hosts/entrance -c Release -r linux-x64 --no-self-contained -o /out/entrance
RUN dotnet publish hosts/standalone -c Release -r linux-x64 --no-self-contained -o /out/standalone
# A folder that belongs to the user of the program: a new volume takes its owner and mode from it.
RUN install -d -m 0700 -o 1654 -g 1654 /out/data

# PostgreSQL's grammar. The library needs nothing but libc.
FROM debian:13.1-slim AS grammar
RUN apt-get update && apt-get install -y --no-install-recommends libpg-query1706.0 && install -D -m 0644 /usr/lib/x86_64-linux-gnu/libpg_query.so.1706.0 /grammar/libpg_query.so.1706.0

# uid 1654 is the user "app" of the base image. Root file system read-only, all state in /data.
FROM mcr.microsoft.com/dotnet/aspnet:10.0.12 AS base
ENV ASPNETCORE_HTTP_PORTS="" Countersign__Data=/data DOTNET_EnableDiagnostics=0
COPY --from=build /out/data /data
USER 1654:1654
WORKDIR /app
VOLUME /data

FROM base AS identity
COPY --from=build /out/identity /app
ENTRYPOINT ["/app/Countersign.Identity.Host"]

FROM base AS policy
COPY --from=build /out/policy /app
ENTRYPOINT ["/app/Countersign.Policy.Host"]

FROM base AS approval
COPY --from=build /out/approval /app
ENTRYPOINT ["/app/Countersign.Approval.Host"]

FROM base AS recorder
COPY --from=build /out/recorder /app
ENTRYPOINT ["/app/Countersign.Recorder.Host"]

FROM base AS proxy
COPY --from=build /out/proxy /app
COPY --from=grammar /grammar/ /app/
ENTRYPOINT ["/app/Countersign.Proxy.Host"]

FROM base AS entrance
COPY --from=build /out/entrance /app
ENTRYPOINT ["/app/Countersign.Entrance"]

FROM base AS standalone
COPY --from=build /out/standalone /app
COPY --from=grammar /grammar/ /app/
ENTRYPOINT ["/app/Countersign.Standalone"]
