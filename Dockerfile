# syntax=docker/dockerfile:1
# The builder's and the final image's Debian release must be the same: the binary is linked against its C library.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src

# The dependencies alone, over empty sources: this layer is built anew only when they change.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/it benches/pass \
    && touch src/lib.rs \
    && echo 'fn main() {}' | tee src/main.rs tests/it/main.rs benches/micro.rs > benches/pass/main.rs \
    && cargo build --release --locked \
    && rm -r src tests benches

COPY .cargo .cargo
COPY .sqlx .sqlx
COPY migrations migrations
COPY build.rs config.toml ./
COPY src src
# Cargo goes by times, and the copied files are older than what the empty ones gave.
RUN mkdir -p tests/it benches/pass \
    && echo 'fn main() {}' | tee tests/it/main.rs benches/micro.rs > benches/pass/main.rs \
    && find src build.rs -type f -exec touch {} + \
    && cargo build --release --locked --bin calmirror

FROM debian:bookworm-slim
# Certificates are checked against the system's authorities.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin calmirror
COPY --from=build /src/target/release/calmirror /usr/local/bin/calmirror
USER 10001:10001
# Where config.toml is expected: /etc/calmirror/config.toml.
WORKDIR /etc/calmirror
STOPSIGNAL SIGTERM
ENTRYPOINT ["calmirror"]
CMD ["run"]
