#!/usr/bin/env bash
# Installs what the tests need, builds everything and runs all tests. With --long, also the rounds that take long (kill
# rounds and the rejoin of a wiped node in full); without it, a sample of them.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=deploy/needs.sh
. "$top/deploy/needs.sh"

case "${1:-}" in
  "") ;;
  --long) export TALON_LONG=1 ;;
  *) echo "usage: tests/run.sh [--long]" >&2; exit 2 ;;
esac

needs_build_tools
# redis-server is the judge of the differential tests, and etcd a peer that the benchmark is tried beside; Python and Node.js run
# clients against the cluster; the tests of a network that is taken apart make it with ip and tc.
needs redis-server redis-tools etcd-server python3 python3-venv iproute2
# Node.js from elsewhere brings npm with it, and is not to be replaced.
command -v npm >/dev/null || needs nodejs npm

cd "$top"
say "Building everything. The first time this compiles RocksDB: about 25 minutes on two cores, less on more."
# One profile for all: what is compiled for the binary is compiled for the tests.
cargo test --release --workspace --no-run
# A build for the tests of power cuts, whose disk forgets what was not synced; and tests that the disk does.
lossy=(--release --workspace --features talon-cli/lossy-disk --test lossy --test promises --test log_store)
cargo test "${lossy[@]}" --no-run
cargo build --release -p talon-cli --bin talon-lossy --features lossy-disk
# Last, so that the tests that start processes find the binary as a person would build it.
cargo build --release -p talon-cli --bin talon
say "Running all tests${TALON_LONG:+, the long rounds in full}"
cargo test --release --workspace --no-fail-fast
say "Running the tests of the disk that forgets"
cargo test "${lossy[@]}" --no-fail-fast
say "All tests passed"
