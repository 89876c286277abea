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
    for target in envelope server frames events json policy request batch graphql rewrite signature chunks bridge presigned signed_paths; do \
        cargo +nightly fuzz run -s none $target -- -dict=fuzz/$target.dict -max_total_time={{SECONDS}} || exit; \
    done

deny:
    cargo deny check

demo:
    cargo run --quiet -- demo
