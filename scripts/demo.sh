#!/usr/bin/env bash
# From a fresh clone to a trained network: installs what is missing, builds, trains
# alexnet-small on generated pictures, classifies some it has not seen.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/drivers.sh

scripts/install-deps.sh demo
make --no-print-directory build

if ! has_gpu_driver && [ -f .tools/mesa/lvp_icd.json ]; then
	VK_DRIVER_FILES=$(lavapipe_icd)
	export VK_DRIVER_FILES VK_ICD_FILENAMES=$VK_DRIVER_FILES
fi

show() { echo "\$ $*"; "$@"; echo; }

rm -rf demo
show bin/vkalexnet devices
show bin/vkalexnet train --model alexnet-small --data synthetic --output-dir demo
show bin/vkalexnet eval --weights demo/best.safetensors --data synthetic
show bin/vkalexnet infer --weights demo/best.safetensors -k 3 synthetic:8
echo "Pictures to look at:"
echo "  demo/loss.png     how the loss fell and the accuracy rose"
echo "  demo/filters.png  what the first layer has learned to see"
echo
echo "Next: bin/vkalexnet serve --weights demo        a page that classifies pictures"
echo "      bin/vkalexnet bench --mode infer -b 16    how fast this device is"
if [ -n "${VK_DRIVER_FILES:-}" ]; then
	echo "These ran on the driver that this chooses: export VK_DRIVER_FILES=$VK_DRIVER_FILES"
fi
