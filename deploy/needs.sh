# Sourced by the scripts: installs what a machine with only Rust and Debian's base lacks.

# Says something, so that it stands out between the lines of cargo and apt.
say() {
  if [ -t 1 ]; then printf '\033[1m==>\033[0m %s\n' "$*"; else printf '==> %s\n' "$*"; fi
}

# Runs as root: as it is, or through sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    echo "This needs root: run '$*' as root, then this script again." >&2
    return 1
  fi
}

# needs PACKAGE…: installs those of Debian's packages that are missing.
needs() {
  local missing=() package
  for package in "$@"; do
    if ! dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
      missing+=("$package")
    fi
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "These packages are missing, and there is no apt-get to install them: ${missing[*]}" >&2
    return 1
  fi
  say "Installing what is missing: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Cargo from rustup is not on the PATH of every shell.
needs_rust() {
  if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  fi
  if ! command -v cargo >/dev/null; then
    echo "There is no cargo. Install Rust first (rustup.rs, or Debian's rustup package)." >&2
    return 1
  fi
}

# What it takes to build: a C++ compiler and libclang for RocksDB, and ccache, so that RocksDB is compiled once and not
# after every 'cargo clean'.
needs_build_tools() {
  needs_rust
  needs g++ make pkg-config libclang-dev ccache
  # Debian keeps compilers of the usual names there that go through ccache. No variable is set, so a plain 'cargo build'
  # has the same fingerprints and compiles nothing again.
  case ":$PATH:" in *:/usr/lib/ccache:*) ;; *) export PATH="/usr/lib/ccache:$PATH" ;; esac
}
