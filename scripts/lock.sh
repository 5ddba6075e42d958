#!/usr/bin/env bash
# Writes requirements.lock: names and versions of everything that .venv holds, so that every machine gets the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch"
"$scratch/bin/python" -m pip install --quiet --disable-pip-version-check '.[all,client,test]' 'setuptools>=77'
{
  echo "# Made by make lock. What is installed into .venv; pyproject.toml says what is asked for."
  "$scratch/bin/python" -m pip freeze --all --exclude blick --exclude pip
} >requirements.lock
