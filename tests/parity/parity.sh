#!/usr/bin/env bash
# Compares imported weights and logits with PyTorch's: parity.sh SAMPLES.tar
# Needs python3-torch and python3-torchvision of Debian (PYTHON: /usr/bin/python3).
set -euo pipefail
cd "$(dirname "$0")/../.."
samples=${1:?which pictures? Give a tar file of JPEG files}
python=${PYTHON:-/usr/bin/python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -o "$work/vkalexnet" ./cmd/vkalexnet
"$python" tests/parity/witness.py make "$work" "$samples"
for file in "$work"/*.pth "$work"/*.onnx; do
	name=$(basename "$file")
	name=${name%.pth}
	case $name in *.onnx) name=${name%.onnx}.onnx ;; esac
	for pictures in identical own; do
		"$work/vkalexnet" infer --weights "$file" --device "${DEVICE:-auto}" -b 4 --format jsonl --output-type logit "$work/$pictures" >"$work/$name.$pictures.jsonl" 2>>"$work/log" || { tail -5 "$work/log" >&2; exit 1; }
	done
done
"$python" tests/parity/witness.py check "$work"
