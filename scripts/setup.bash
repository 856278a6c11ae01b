# What every script here needs first: the Debian packages, and a Swift toolchain. Sourced, not run.

# The packages that a Swift toolchain needs to build spoolfs, libfuse3 and liburing, and fusermount3 for users other than
# root.
build_packages=(
  binutils ca-certificates fuse3 git g++ libc6-dev libcurl4 libfuse3-dev liburing-dev libncurses6 libsqlite3-0 libxml2
  pkg-config tzdata
)

# The programs that the tests run in a mount, and those that the tests are made with.
test_packages=(
  e2fsprogs gawk gcc git libc6-dev make mawk mold mount procps python3 python3-lmdb sqlite3 tar util-linux
)

fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# install PACKAGE…: installs those that are missing.
install() {
  local package missing=()
  if ! command -v dpkg-query >/dev/null; then
    echo "${0##*/}: this is no Debian; what is called there $* must be installed" >&2
    return
  fi
  for package in "$@"; do
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] \
      || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "as root, run: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  echo "${0##*/}: installing ${missing[*]}" >&2
  local log
  log=$("${as_root[@]}" apt-get update -qq 2>&1 \
    && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" 2>&1) \
    || fail "cannot install ${missing[*]}:"$'\n'"$log"
}

# Python's own tests are in a package that is named for its version.
install_python_tests() {
  command -v dpkg-query >/dev/null || return 0
  install "libpython$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')-testsuite"
}

# Swift comes from https://www.swift.org/install: Debian has no package of it.
require_swift() {
  command -v swift >/dev/null || fail "no 'swift' in PATH: install Swift 6.2 or later, see https://www.swift.org/install"
  local version
  version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
  [[ $(printf '%s\n' 6.2 "${version:-0}" | sort -V | head -n 1) == 6.2 ]] \
    || fail "Swift ${version:-of an unknown version} is in PATH, but spoolfs needs 6.2 or later"
}
