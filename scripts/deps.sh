#!/usr/bin/env bash
# Installs the programs that the real parts of the tests need (first step of `make deps`). Safe to repeat: what is there stays.
#
# Debian packages need root, or sudo without a password. Without either, the command to type is printed and the rest goes on;
# the tests that need those programs are then skipped, and listed at the end of a test run.
# `scripts/deps.sh cinder` installs besides what the tests on demand need.
# PYTHON is the interpreter that will make the virtual environment (default: python3).
set -euo pipefail

# One line per part of tests/support/parts.py: what its programs come from.
packages=(
  bash zsh fish     # bash, zsh, fish: complete the arguments of commands
  groff-base        # groff: shows manual pages
  qemu-utils        # qemu:  qemu-img, makes and reads images in every format
  gzip bzip2        # packers: compress
  xz-utils zstd zip # packers: likewise
  qemu-system-x86   # boot:  boots them, in plain emulation
  grub-common       # boot:  grub-mkimage and grub-editenv
  grub-pc-bin       # boot:  GRUB for a BIOS, as files; nothing is installed on this machine's disk
  mtools            # boot:  writes files into a FAT file system without mounting it
  fdisk             # boot:  sfdisk writes partition tables
  xorriso           # iso:   makes an ISO
  grub-rescue-pc    # iso:   ships an ISO that somebody else made
  mariadb-server    # mariadb: run by the tests themselves, in folders of their own
  postgresql        # postgresql: likewise
  memcached         # memcached: likewise
  xfsprogs          # loop-disk: mkfs.xfs, for disks in files
  golang-go         # vcsim: builds it
  golang-github-vmware-govmomi-dev # vcsim: its source
  golang-github-google-uuid-dev    # vcsim: likewise
  ceph-mon          # ceph:  keeps the map of a cluster that the tests run themselves
  ceph-osd          # ceph:  keeps its data
  ceph-mgr          # ceph:  counts it, where a test needs that
  ceph-common       # ceph:  the programs of its administrator
  radosgw           # radosgw: Ceph's S3 server, on such a cluster
  python3-rados     # rbd:   bindings for Python 3.11, which any 3.11 can load
  python3-rbd       # rbd:   likewise
  gcc               # upstream: uWSGI comes as source
  libc6-dev         # upstream: likewise
)

[ "${1:-}" = cinder ] && packages+=(rabbitmq-server) # its message queue

# A Debian Python comes without the module that fills a virtual environment with pip, and without its headers.
"${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
"${PYTHON:-python3}" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
  packages+=(python3-dev)

# azurite: runs it, and installs it; some machines have both from elsewhere, in one package
command -v npm >/dev/null || packages+=(nodejs npm)

say() { echo "deps: $*"; }

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || echo "$package"
  done
}

# The package manager starts what it installs, unless this file forbids it. A database on this machine that nobody asked
# for is not ours to leave behind. "$@" is what makes the rest of a command root's.
keep_services_stopped() {
  local policy=/usr/sbin/policy-rc.d
  [ -e "$policy" ] && return 0
  # shellcheck disable=SC2064  # the command is to be written down now
  trap "$(printf '%q ' "$@" rm -f "$policy")" EXIT
  printf '#!/bin/sh\nexit 101\n' | "$@" tee "$policy" >/dev/null
  "$@" chmod 755 "$policy"
}

install_debian_packages() {
  local missing=() as_root=()
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "this is not a Debian system; for the real-image tests install by hand: ${packages[*]}"
    return 0
  fi
  mapfile -t missing < <(missing_packages)
  if [ ${#missing[@]} -eq 0 ]; then
    say "Debian packages: all there"
    return 0
  fi
  if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      say "not root, so these stay out and their tests are skipped. To have them, type:"
      say "  sudo apt-get install --no-install-recommends ${missing[*]}"
      return 0
    fi
    as_root=(sudo -n)
  fi
  say "installing Debian packages: ${missing[*]}"
  keep_services_stopped "${as_root[@]}"
  apt_install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 \
      --no-install-recommends install "${missing[@]}" >/dev/null </dev/null
  }
  # Most machines know their packages already; the list is fetched only when the first try fails.
  apt_install 2>/dev/null || { "${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=600 update </dev/null && apt_install; }
}

install_debian_packages
# keystone, swift, upstream, tempest: from PyPI, each in a virtual environment of its own in the user's cache folder
cd "$(dirname "${BASH_SOURCE[0]}")/.." && "${PYTHON:-python3}" -m tests.support.environments
[ "${1:-}" = cinder ] && "${PYTHON:-python3}" -m tests.support.environments cinder
# azurite: from npm, in the same cache folder
"${PYTHON:-python3}" -m tests.support.npm_packages
