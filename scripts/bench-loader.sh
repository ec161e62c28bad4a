#!/usr/bin/env bash
# Measures this loader and torchvision's on the same folder of pictures, one after the
# other: bench-loader.sh FOLDER OUT [REPEAT]. Writes OUT/loader.json and
# OUT/loader-torchvision.json, and prints the tables of both.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { echo "usage: bench-loader.sh FOLDER OUT [REPEAT]" >&2; exit 2; }
make -s build
bin/vkalexnet bench --mode loader --data "$1" --model alexnet -r "${3:-5}" --warmup 1 --out "$2/loader.json"
"${PYTHON:-/usr/bin/python3}" scripts/bench-torchvision.py "$1" "${3:-5}" >"$2/loader-torchvision.json"
bin/vkalexnet bench compare "$2/loader-torchvision.json" "$2/loader.json" || true
