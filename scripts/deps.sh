#!/usr/bin/env bash
# Makes the machine ready for every real part of the tests (`make deps`). Safe to repeat: only what is missing is installed.
#
#   Debian packages   need root (or sudo without a password). Without either, the command to type is printed, the rest goes
#                     on, and the tests that need those programs are skipped and listed at the end of a test run.
#   Python packages   go into .venv: Blick itself, its test tools, and the real clients (openstack, glance, openstacksdk).
#
# BLICK_VENV names another virtual environment, PYTHON the interpreter that makes it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${BLICK_VENV:-.venv}

# One line per part of tests/support/parts.py: what its programs come from.
packages=(
  qemu-utils        # qemu:  qemu-img, makes and reads images in every format
  qemu-system-x86   # boot:  boots them, in plain emulation
  grub-common       # boot:  grub-mkimage and grub-mkstandalone
  grub-pc-bin       # boot:  GRUB for a BIOS, as files; nothing is installed on this machine's disk
  mtools            # boot:  writes files into a FAT file system without mounting it
  fdisk             # boot:  sfdisk writes partition tables
  xorriso           # iso:   makes an ISO
  grub-rescue-pc    # iso:   ships an ISO that somebody else made
)

say() { echo "deps: $*"; }

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || echo "$package"
  done
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
  apt_install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 \
      --no-install-recommends install "${missing[@]}" >/dev/null </dev/null
  }
  # Most machines know their packages already; the list is fetched only when the first try fails.
  apt_install 2>/dev/null || { "${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=600 update </dev/null && apt_install; }
}

install_python_packages() {
  local constraint=()
  [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
  [ -e requirements.lock ] && constraint=(--constraint requirements.lock)
  say "installing into $venv: blick, its test tools, and the clients (openstack, glance, openstacksdk)"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    "${constraint[@]}" --editable '.[client,test]' </dev/null
}

install_debian_packages
install_python_packages
say "done"
