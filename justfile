# Shortcuts; each is one line that works without `just` too.

default:
    @just --list

# what a pull request must pass
ci:
    ./.ci/run

# all tests, with what they need installed first
test:
    ./tests/run

# the fast loop: no real servers
quick:
    cargo test --lib --bins
    cargo clippy --all-targets -- -D warnings

fmt:
    cargo fmt

# the figures in docs/performance.md
bench:
    cargo bench --bench decision
    cargo bench --bench roundtrip
    cargo bench --bench audit_rows
    cargo bench --bench contention
    cargo bench --bench soak

# SECONDS of each fuzz target; needs nightly and cargo-fuzz
fuzz SECONDS="60":
    cargo +nightly fuzz run envelope -- -max_total_time={{SECONDS}}
    cargo +nightly fuzz run policy -- -max_total_time={{SECONDS}}
    cargo +nightly fuzz run request -- -max_total_time={{SECONDS}}
    cargo +nightly fuzz run events -- -max_total_time={{SECONDS}}

deny:
    cargo deny check

demo:
    cargo run --quiet -- demo
