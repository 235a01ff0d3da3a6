#!/usr/bin/env bash
# From a machine with only Rust and Debian's base to a running three-node cluster: installs what is missing, builds, and
# becomes 'talon dev'. Flags go to 'talon dev': deploy/dev.sh --fresh --nodes 5
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=deploy/needs.sh
. "$top/deploy/needs.sh"

needs_build_tools
target=${CARGO_TARGET_DIR:-$top/target}
if [ ! -x "$target/release/talon" ]; then
  say "Building talon. The first time this compiles RocksDB: about 25 minutes on two cores, less on more."
else
  say "Building talon (what has changed)"
fi
cargo build --release -p talon-cli --bin talon --manifest-path "$top/Cargo.toml"
say "Starting: talon dev $*"
exec "$target/release/talon" dev "$@"
