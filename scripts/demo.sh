#!/bin/sh
# Sets up, starts the whole service on this machine and shows a correction and a deletion.
set -eu
cd "$(dirname "$0")/.."
EXTRA=demo
. scripts/env.sh

exec .venv/bin/lethe demo "$@"
