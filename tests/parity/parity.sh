#!/usr/bin/env bash
# Compares imported weights, logits and pictures with PyTorch's and torchvision's, and exported
# ONNX in onnxruntime: parity.sh SAMPLES.tar
# Needs python3-torch and python3-torchvision of Debian (PYTHON: /usr/bin/python3), with
# python3-opencv also for the pictures of Caffe's tools, about 3 GB in TMPDIR, and node and npm
# for onnxruntime (onnxruntime.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."
samples=${1:?which pictures? Give a tar file of JPEG files}
python=${PYTHON:-/usr/bin/python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
vkalexnet="$work/vkalexnet"
quiet() { "$@" 2>>"$work/log" || { tail -5 "$work/log" >&2; exit 1; }; }
go build -o "$vkalexnet" ./cmd/vkalexnet
"$python" tests/parity/witness.py make "$work" "$samples"

# classify NAME FILE PICTURES...: the logits of both sets of pictures.
classify() {
	local model=()
	# PyTorch writes LRN as other operators, so the file alone does not tell the network.
	case $1 in grouped.onnx) model=(--model alexnet) ;; esac
	for pictures in "${@:3}"; do
		quiet "$vkalexnet" infer --weights "$2" "${model[@]}" --device "${DEVICE:-auto}" -b 4 --format jsonl --output-type logit "$work/$pictures" >"$work/$1.$pictures.jsonl"
	done
}
for file in "$work"/*.pth "$work"/*.onnx "$work"/*.caffemodel; do
	name=$(basename "$file" .pth)
	classify "$name" "$file" identical own
done

# Our ONNX: read back it has the same bits and logits; onnxruntime gives the same logits.
for name in owt grouped; do
	quiet "$vkalexnet" import "$work/$name.zip.pth" -o "$work/$name.safetensors"
	quiet "$vkalexnet" export --weights "$work/$name.safetensors" --format onnx -o "$work/$name.exported.onnx"
	quiet "$vkalexnet" import "$work/$name.exported.onnx" -o "$work/$name.again.safetensors"
	echo "$name, exported to ONNX and imported: $("$vkalexnet" diff "$work/$name.safetensors" "$work/$name.again.safetensors")"
	classify "$name.exported.onnx" "$work/$name.exported.onnx" identical
done
if modules=$(scripts/onnxruntime.sh); then
	for spec in owt:224 grouped:227; do
		name=${spec%:*}
		NODE_PATH=$modules quiet node tests/parity/onnxruntime.js "$work/$name.exported.onnx" "$work/$name.input.f32" 20 "${spec#*:}" "$work/$name.ort.f32" >/dev/null
	done
	echo "onnxruntime-node $(node -p "require('$modules/onnxruntime-node/package.json').version")"
else
	echo "onnxruntime: skipped"
fi

# The stored bytes of all pictures.
for decoder in turbo go; do
	for resize in short warp opencv; do
		VKALEXNET_JPEG=$decoder quiet "$vkalexnet" pack "$work/all" -o "$work/packed.$decoder.$resize" --resize $resize >/dev/null || echo "decoder $decoder: skipped"
	done
done
"$python" tests/parity/witness.py check "$work"
