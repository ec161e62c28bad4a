#!/usr/bin/env bash
# What there is to know of a GPU, in one command of less than ten minutes: every layer
# verified, kernels tuned, speed measured, PyTorch beside it where it is installed.
# Builds nothing: bin/vkalexnet has to be there. One folder with the JSON files, one
# table (table.md) and one page (report.html).
#
#   scripts/gpu-check.sh [FOLDER]        default: gpu-check; `make gpu-check OUT=FOLDER` is the same
#
# Variables: DEVICE (auto), MODELS (alexnet alexnet-owt), BATCHES (128,256), PRECISIONS
# (fp32 fp16 bf16), PYTHON (python3), SCALE (1; 0.5 halves every time limit, 3 is for a slow device).
set -uo pipefail
cd "$(dirname "$0")/.."

out=${1:-gpu-check}
device=${DEVICE:-auto}
models=${MODELS:-alexnet alexnet-owt}
batches=${BATCHES:-128,256}
python=${PYTHON:-python3}
scale=${SCALE:-1}
program=bin/vkalexnet
[ -x $program ] || { echo "gpu-check: $program is missing: run 'make build' first" >&2; exit 1; }
mkdir -p "$out" || exit 1
failed=()

# part NAME SECONDS COMMAND... runs a part with a limit of its own, keeps what it prints,
# and goes on whatever comes of it. An interrupt lets a benchmark write what it has.
part() {
	local name=$1 limit rc began=$SECONDS
	limit=$(awk -v s="$2" -v k="$scale" -v spent=$SECONDS 'BEGIN { s *= k; left = 570 * k - spent; printf "%.0f", s < left ? s : left }')
	shift 2
	if [ "$limit" -le 0 ]; then
		failed+=("$name (not begun: the parts before it took ten minutes)")
		return
	fi
	echo "== $name: $*" >&2
	timeout --signal=INT --kill-after=10 "$limit" "$@" >"$out/$name.txt" 2> >(tee "$out/$name.log" >&2)
	rc=$?
	case $rc in
	0) ;;
	124 | 130 | 137) failed+=("$name (stopped after $limit s)") ;;
	*) failed+=("$name (exit code $rc)") ;;
	esac
	echo "   $((SECONDS - began)) s, exit code $rc" >&2
}

read -ra precisions <<<"${PRECISIONS:-fp32 fp16 bf16}"

part devices 20 $program devices --format json
for model in $models; do
	part "verify-$model" 60 $program verify --device "$device" --model "$model"
done
part peak 30 $program bench --device "$device" --mode peak,gemm -r 10 --max-time 2 --out "$out/peak.json"
for precision in "${precisions[@]}"; do
	for model in $models; do
		args=(--device "$device" --model "$model" --batch "$batches" -r 20 --max-time 3)
		args+=(--precision "$precision")
		# The first of these also tunes. Layers come apart, so that one that hangs does not cost the others.
		part "$model-$precision" 60 $program bench "${args[@]}" --mode infer,train --out "$out/$model-$precision.json"
		part "$model-$precision-layers" 25 $program bench "${args[@]}" --mode layers -r 8 --out "$out/$model-$precision-layers.json"
	done
done
if "$python" -c 'import torch' 2>/dev/null; then
	peers=$(tr ' ' '\n' <<<"$models" | grep -Ex 'alexnet|alexnet-owt' | paste -sd,)
	[ -n "$peers" ] && part torch 100 "$python" scripts/torch_bench.py --model "$peers" --batch "$batches" --budget "$(awk -v k="$scale" 'BEGIN { print 80 * k }')" --out "$out/torch.json"
else
	echo "== PyTorch: not measured ($python has no torch)" >&2
fi

shopt -s nullglob
results=("$out"/peak.json)
for model in $models; do results+=("$out/$model"-*.json); done
[ -s "$out/torch.json" ] && results+=("$out/torch.json")
present=()
for file in "${results[@]}"; do [ -s "$file" ] && present+=("$file"); done
{
	echo "# $(date -u +%F), $($program version | head -1)"
	for file in "$out"/verify-*.txt; do
		printf '\n## %s\n\n```\n' "$(basename "$file" .txt)"
		tail -n 3 "$file"
		echo '```'
	done
	for file in "${present[@]}"; do
		[ "$file" = "$out/torch.json" ] && continue
		printf '\n## %s\n\n' "$(basename "$file" .json)"
		cat "${file%.json}.txt"
	done
	if [ -s "$out/torch.json" ]; then
		for model in $models; do
			for precision in "${precisions[@]}"; do
				[ -s "$out/$model-$precision.json" ] || continue
				printf '\n## %s %s (A) and PyTorch (B)\n\n' "$model" "$precision"
				$program bench compare "$out/$model-$precision.json" "$out/torch.json" 2>/dev/null
			done
		done
	fi
	if [ ${#failed[@]} -gt 0 ]; then
		printf '\n## Not whole\n\n'
		printf -- '- %s\n' "${failed[@]}"
	fi
} >"$out/table.md"
[ ${#present[@]} -gt 0 ] && $program bench report "${present[@]}" --out "$out/report.html"
echo "== $SECONDS s: $out/table.md, $out/report.html" >&2
if [ ${#failed[@]} -gt 0 ]; then
	printf 'gpu-check: not whole: %s\n' "${failed[@]}" >&2
	exit 1
fi
