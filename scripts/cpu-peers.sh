#!/usr/bin/env bash
# AlexNet on this machine's processor, in one run: vkalexnet on Vulkan drivers that run on it,
# PyTorch, and onnxruntime with its own kernels and on Vulkan (WebGPU), whichever are there.
#
#   scripts/cpu-peers.sh [FOLDER]        default: cpu-peers; `make cpu-peers OUT=FOLDER` is the same
#
# Leaves the JSON files and table.md in FOLDER. Wants vkalexnet built, python3-torch (with
# libopenblas0-pthread: without it Debian takes the slow reference BLAS), and node with
# npm, which fetches onnxruntime-node once. Variables: DEVICE (auto), BATCH (16), REPEAT (5),
# MODELS (alexnet alexnet-owt), PYTHON (/usr/bin/python3).
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-cpu-peers}
device=${DEVICE:-auto}
batch=${BATCH:-16}
repeat=${REPEAT:-5}
read -ra models <<<"${MODELS:-alexnet alexnet-owt}"
python=${PYTHON:-/usr/bin/python3}
program=bin/vkalexnet
[ -x $program ] || { echo "cpu-peers: $program is missing: run 'make build' first" >&2; exit 1; }
mkdir -p "$out" || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
list=$(IFS=,; echo "${models[*]}")
files=()

echo "== vkalexnet" >&2
$program bench --device "$device" --mode gemm,infer,train --model "$list" --batch "$batch" -r "$repeat" --warmup 1 --out "$out/vkalexnet.json" >/dev/null || exit 1
files+=("$out/vkalexnet.json")

if "$python" -c 'import torch' 2>/dev/null; then
	echo "== PyTorch" >&2
	"$python" scripts/torch_bench.py --device cpu --model "$list" --batch "$batch" --precision fp32 --how eager -r "$repeat" --warmup 1 --max-time 60 --budget 600 --out "$out/torch.json" && files+=("$out/torch.json")
else
	echo "== PyTorch: not measured ($python has no torch)" >&2
fi

if modules=$(scripts/onnxruntime.sh); then
	echo "== onnxruntime" >&2
	onnx=()
	for model in "${models[@]}"; do # what is in the weights changes no time
		onnx+=("$model=$work/$model.onnx")
		$program train --device "$device" --model "$model" --data synthetic --num-classes 1000 -b 8 --max-steps 1 --no-tune --output-dir "$work/$model" >/dev/null 2>&1 &&
			$program export --weights "$work/$model" --format onnx -o "$work/$model.onnx" 2>/dev/null
	done
	NODE_PATH=$modules node scripts/onnxruntime_bench.js cpu,webgpu "$batch" "$repeat" "${onnx[@]}" >"$out/onnxruntime.json" 2> >(grep '^ ' >&2) && files+=("$out/onnxruntime.json")
else
	echo "== onnxruntime: not measured" >&2
fi
$program bench report "${files[@]}" --out "$out/table.md"
cat "$out/table.md"
