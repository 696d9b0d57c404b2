# Needs https://just.systems; each recipe is also a command that can be typed.

# Lists the recipes
default:
    @just --list

# Shows the whole thing on this machine: a simulated Cal.com, a local Postgres, three passes
demo *args:
    ./demo {{ args }}

# Runs all tests, or those whose names hold a given word
test *args:
    tests/run {{ args }}

# Formats, then finds what the compiler and clippy have to say
lint:
    cargo fmt
    cargo clippy --all-targets --locked -- -D warnings

# Builds the library's documentation and opens it
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked --open

# Measures passes against what they could cost at least; see docs/performance.md
bench *args:
    cargo bench --locked --bench pass -- {{ args }}

# Writes .sqlx anew, after a change to a query or a migration
sqlx-prepare:
    tests/offline-queries prepare

# Checks licences, banned crates, sources and advisories (needs cargo-deny)
deny:
    cargo deny check

# Checks the systemd unit, the compose file and Prometheus's rules
packaging:
    packaging/check

# Everything that a change must pass
ci:
    .ci/run
