#!/usr/bin/env bash
# Prints the folder in which node finds onnxruntime-node (NODE_PATH), fetched there by npm the
# first time: NODE_MODULES, by default below TMPDIR. Says why where that cannot be.
set -euo pipefail
version=1.30.0
for tool in node npm; do
	command -v $tool >/dev/null || { echo "$tool is not installed" >&2; exit 1; }
done
folder=${NODE_MODULES:-${TMPDIR:-/tmp}/vkalexnet-onnxruntime}
if [ ! -d "$folder/node_modules/onnxruntime-node" ]; then
	mkdir -p "$folder"
	# Without the install script: it would fetch libraries for CUDA.
	npm install --prefix "$folder" --ignore-scripts --no-audit --no-fund --silent onnxruntime-node@$version >&2 ||
		{ echo "npm could not fetch onnxruntime-node $version" >&2; exit 1; }
fi
echo "$folder/node_modules"
