#!/usr/bin/env bash
# From a machine with only Rust and Debian's base to the side-by-side figures: installs what is missing, builds, and runs
# 'talon-bench compare'. Flags go to it: crates/talon-bench/compare.sh --rounds 1 --quick
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=deploy/needs.sh
. "$top/deploy/needs.sh"

needs_build_tools
needs redis-server redis-tools etcd-server etcd-client
cd "$top"
target=${CARGO_TARGET_DIR:-$top/target}
say "Building talon and talon-bench. The first time this compiles RocksDB: about 25 minutes on two cores, less on more."
cargo build --release -p talon-bench
# By itself, as a person would build it.
cargo build --release -p talon-cli --bin talon
say "Running: talon-bench compare $*"
exec "$target/release/talon-bench" compare "$@"
