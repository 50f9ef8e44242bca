# synscope's images, a target for each:
#
#     docker build --target datapath --build-arg SYNSCOPE_COMMIT=$(git rev-parse HEAD) .

# Where the programs come from: `build` makes them here, `given` takes them from the context, a folder that holds them:
# `cargo xtask compose-test` has built them before.
ARG PROGRAMS=build

FROM rust:1.95.0-slim-bookworm AS toolchain
ARG BPF_LINKER=0.10.4
RUN rustup component add rust-src && cargo install bpf-linker --version $BPF_LINKER --locked
WORKDIR /src

# All that dependencies follow from. Sources are empty, so that what is made of this is used again until a manifest
# changes.
FROM toolchain AS manifests
COPY . .
RUN find . \( -name Cargo.toml -o -name Cargo.lock -o -name rust-toolchain.toml -o -path '*/.cargo/config.toml' \) \
        -exec install -D {} /manifests/{} \; \
    && find . -name build.rs -execdir sh -c 'install -D /dev/null "/manifests${PWD#/src}/build.rs"' \; \
    && cd /manifests \
    && find . -name build.rs -exec sh -c 'echo "fn main() { }" > {}' \; \
    && find . -name Cargo.toml -execdir sh -c 'mkdir -p src && touch src/lib.rs && echo "fn main() { }" > src/main.rs' \;

FROM toolchain AS build
ENV PACKAGES="-p synscope-datapath -p synscope-tracer -p synscope-analyzer -p synscope-api -p synscope-cli -p synscope-lab"
COPY --from=manifests /manifests .
RUN cargo build --release --locked $PACKAGES && cd ebpf && cargo fetch --locked
# Not every package has a library.
RUN find . -path ./target -prune -o -name '*.rs' -exec rm {} +
COPY . .
ARG SYNSCOPE_COMMIT
# Sources are older than what was made of the empty ones; those in `target` are not ours.
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --bins $PACKAGES \
    && install -D -t /programs target/release/synscope-datapath target/release/synscope-tracer \
        target/release/synscope-analyzer target/release/synscope-api target/release/synscope target/release/synscope-lab

FROM scratch AS given
COPY synscope* /programs/

FROM ${PROGRAMS} AS programs

FROM debian:bookworm-slim AS base
ARG SYNSCOPE_VERSION=0.1.0
ARG SYNSCOPE_COMMIT=unknown
LABEL org.opencontainers.image.title="synscope" \
      org.opencontainers.image.description="Finds out why connections are slow, across a fleet, from inside the kernel" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$SYNSCOPE_VERSION" \
      org.opencontainers.image.revision="$SYNSCOPE_COMMIT"

# Root, with the capabilities that compose.yaml names: files on bpffs are its user's.
FROM base AS datapath
COPY --from=programs /programs/synscope-datapath /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s CMD ["synscope-datapath", "health"]
ENTRYPOINT ["synscope-datapath"]

FROM base AS tracer
COPY --from=programs /programs/synscope-tracer /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s CMD ["synscope-tracer", "health"]
ENTRYPOINT ["synscope-tracer"]

FROM base AS analyzer
COPY --from=programs /programs/synscope-analyzer /usr/local/bin/
USER 65532:65532
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s CMD ["synscope-analyzer", "health"]
ENTRYPOINT ["synscope-analyzer"]

FROM base AS api
COPY --from=programs /programs/synscope-api /usr/local/bin/
USER 65532:65532
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s CMD ["synscope-api", "health"]
ENTRYPOINT ["synscope-api"]

# Makes credentials in a volume that is mounted there.
FROM base AS cli
COPY --from=programs /programs/synscope /usr/local/bin/
RUN install -d -m 750 -o 65532 -g 65532 /credentials
USER 65532:65532
ENTRYPOINT ["synscope"]

FROM base AS lab
COPY --from=programs /programs/synscope-lab /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["synscope-lab"]
