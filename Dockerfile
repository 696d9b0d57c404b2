# syntax=docker/dockerfile:1
# The builder and the final image must be of the same Debian release: the binary is linked against its C library.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src

# The dependencies alone, over empty sources: this layer is built anew only when they change.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/it benches/pass \
    && touch src/lib.rs \
    && echo 'fn main() {}' | tee src/main.rs tests/it/main.rs benches/micro.rs > benches/pass/main.rs \
    && cargo build --release --locked \
    && rm -r src

COPY .cargo .cargo
COPY .sqlx .sqlx
COPY migrations migrations
COPY build.rs config.toml ./
COPY src src
# Cargo goes by times, and the copied files are older than what the empty ones gave.
RUN find src build.rs -type f -exec touch {} + \
    && cargo build --release --locked --bin calmirror

# The C library, libgcc and the authorities that certificates are checked against. No shell, no package manager, and no
# Postgres: `database.url = "embedded"` is refused there, with what to do.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=unreleased
LABEL org.opencontainers.image.title="calmirror" \
    org.opencontainers.image.description="Keeps a Postgres table true to what Cal.com's API says of a set of managed users" \
    org.opencontainers.image.source="https://github.com/calmirror/calmirror" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}"
COPY --from=build /src/target/release/calmirror /usr/local/bin/calmirror
# The image's user `nonroot`, as a number, so that Kubernetes can tell that it is not root.
USER 65532:65532
# Where config.toml is expected: /etc/calmirror/config.toml. Nothing is written anywhere.
WORKDIR /etc/calmirror
EXPOSE 9470
STOPSIGNAL SIGTERM
# Asks /healthz on the configured server.listen. It is not ready that counts, but alive: a database that is away heals no
# sooner by a restart.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=4 \
    CMD ["/usr/local/bin/calmirror", "check", "--health"]
ENTRYPOINT ["/usr/local/bin/calmirror"]
CMD ["run"]
