#!/usr/bin/env bash
# What there is to know of a GPU, in one command of less than ten minutes: speed, kernels
# tuned first; PyTorch beside it where it is installed; every layer verified in every
# precision; bf16x3 where there are matrix units of bf16; single layers, growth with the
# batch, peaks. Builds nothing: bin/vkalexnet has to be there. One folder with the JSON files,
# one table (table.md) and one page (report.html).
#
#   scripts/gpu-check.sh [FOLDER]        default: gpu-check; `make gpu-check OUT=FOLDER` is the same
#
# What matters most runs first, and what no time is left for is named at the end: PARTS then
# asks for that alone, or SCALE gives more time.
# Variables: DEVICE (auto), MODELS (alexnet alexnet-owt), BATCHES (128,256), PRECISIONS
# (fp32 fp16 bf16), PARTS (bench torch verify bf16x3 layers growth peak; results of others in
# FOLDER stay), TOTAL (570: seconds for all of it, of which PyTorch's are kept for it), TUNE (10: seconds
# for tuning one batch size of a pass), GROWTH (1,2,4,8,16,32,64,128,256), GROWTH_TUNE (0, the
# fixed table), PYTHON (python3), SCALE (1; 0.5 halves every time limit, 3 is for a slow device).
set -uo pipefail
cd "$(dirname "$0")/.."

out=${1:-gpu-check}
device=${DEVICE:-auto}
read -ra models <<<"${MODELS:-alexnet alexnet-owt}"
batches=${BATCHES:-128,256}
read -ra precisions <<<"${PRECISIONS:-fp32 fp16 bf16}"
parts=" ${PARTS:-bench torch verify bf16x3 layers growth peak} "
python=${PYTHON:-python3}
scale=${SCALE:-1}
seconds() { awk -v s="$1" -v k="$scale" 'BEGIN { printf "%.0f", s * k }'; }
total=$(seconds "${TOTAL:-570}")
torch=$(seconds 90)
program=bin/vkalexnet
[ -x $program ] || { echo "gpu-check: $program is missing: run 'make build' first" >&2; exit 1; }
mkdir -p "$out" || exit 1
failed=()
kept=0 # seconds that no part may take but the one they are kept for

wanted() { [[ $parts == *" $1 "* ]]; }

# part NAME SECONDS COMMAND... runs a part with a limit of its own, keeps what it prints,
# and goes on whatever comes of it. An interrupt lets a benchmark write what it has.
part() {
	local name=$1 limit=$2 rc began=$SECONDS left=$((total - kept - SECONDS))
	[ "$limit" -le $left ] || limit=$left
	shift 2
	if [ "$limit" -lt 5 ]; then
		failed+=("$name (not begun: no time was left of $total s)")
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

# One process for all precisions of a network: parameters are drawn, and the reference's
# answers computed, once. Infer comes before train, each batch in every precision.
list=$(IFS=,; echo "${precisions[*]}")
common=(--device "$device" --precision "$list" --tune-budget "$(seconds "${TUNE:-10}")")

part devices "$(seconds 20)" $program devices --format json

has_torch=
if wanted torch; then
	if "$python" -c 'import torch' 2>/dev/null; then
		peers=$(printf '%s\n' "${models[@]}" | grep -Ex 'alexnet|alexnet-owt' | paste -sd,)
		has_torch=${peers:+yes}
	else
		echo "== PyTorch: not measured ($python has no torch)" >&2
	fi
fi
[ -z "$has_torch" ] || kept=$torch
for i in "${!models[@]}"; do
	model=${models[$i]}
	limit=$(((total - kept - SECONDS) / (${#models[@]} - i)))
	most=$(seconds 150)
	wanted bench && part "$model" $((limit < most ? limit : most)) $program bench "${common[@]}" --model "$model" --batch "$batches" --mode infer,train -r 10 --max-time 3 --out "$out/$model.json"
	# Right after the first network, so that it is reached whatever the others take.
	if [ "$i" = 0 ] && [ -n "$has_torch" ]; then
		kept=0
		part torch "$torch" "$python" scripts/torch_bench.py --model "$peers" --batch "$batches" --budget $((torch - 8)) --out "$out/torch.json"
	fi
done
if wanted verify; then
	for precision in "${precisions[@]}"; do
		for model in "${models[@]}"; do
			part "verify-$model-$precision" "$(seconds 60)" $program verify --device "$device" --model "$model" --precision "$precision"
		done
	done
fi
if wanted bf16x3 && grep -q '"matrices_bf16"' "$out/devices.txt"; then # elsewhere it is fp32
	# Every layer; what was chosen for each product, fp32's kernel or three of bf16; whole passes and layers.
	part "verify-${models[0]}-bf16x3" "$(seconds 60)" $program verify --device "$device" --model "${models[0]}" --precision bf16x3
	part tune-bf16x3 "$(seconds 50)" $program tune --device "$device" --model "${models[0]}" --batch-size "${batches%%,*}" --precision bf16x3 --budget "$(seconds 40)"
	part bf16x3 "$(seconds 40)" $program bench --device "$device" --precision bf16x3 --tune-budget "$(seconds "${TUNE:-10}")" --model "${models[0]}" --batch "${batches%%,*}" --mode infer,train,layers -r 10 --max-time 3 --out "$out/bf16x3.json"
fi
if wanted layers; then
	part layers "$(seconds 60)" $program bench "${common[@]}" --model "${models[0]}" --batch "${batches%%,*}" --mode layers -r 8 --max-time 2 --out "$out/layers.json"
fi
if wanted growth; then
	# Nine batch sizes take minutes to tune: by the fixed table, unless there is time.
	how=(--no-tune)
	[ "${GROWTH_TUNE:-0}" = 0 ] || how=(--tune-budget "$GROWTH_TUNE")
	part growth "$(seconds 45)" $program bench --device "$device" --model "${models[0]}" --batch "${GROWTH:-1,2,4,8,16,32,64,128,256}" --mode infer,train \
		--precision "$(IFS=,; echo "${precisions[*]:0:2}")" "${how[@]}" -r 5 --warmup-time 0.1 --max-time 1 --out "$out/growth.json"
fi
wanted peak && part peak "$(seconds 30)" $program bench --device "$device" --mode peak,gemm -r 10 --max-time 2 --out "$out/peak.json"

shopt -s nullglob
present=()
for name in "${models[@]}" torch bf16x3 layers growth peak; do [ -s "$out/$name.json" ] && present+=("$out/$name.json"); done
if [ ${#present[@]} -gt 0 ]; then
	$program bench report "${present[@]}" --out "$out/report.html"
	$program bench report "${present[@]}" --out "$out/results.md"
fi
{
	echo "# $(date -u +%F), $($program version | head -1)"
	for model in "${models[@]}"; do
		if [ -s "$out/$model.json" ] && [ -s "$out/torch.json" ] &&
			compared=$($program bench compare "$out/$model.json" "$out/torch.json" 2>/dev/null); then
			printf '\n## %s (A) and PyTorch, the faster of eager and graph (B)\n\n%s\n' "$model" "$compared"
		fi
	done
	for file in "$out"/verify-*.txt; do
		printf '\n## %s\n\n' "$(basename "$file" .txt)"
		tail -n 1 "${file%.txt}.log"
	done
	[ ! -s "$out/results.md" ] || { echo; cat "$out/results.md"; }
	if [ ${#failed[@]} -gt 0 ]; then
		printf '\n## Not whole\n\n'
		printf -- '- %s\n' "${failed[@]}"
	fi
} >"$out/table.md"
echo "== $SECONDS s: $out/table.md, $out/report.html" >&2
if [ ${#failed[@]} -gt 0 ]; then
	printf 'gpu-check: not whole: %s\n' "${failed[@]}" >&2
	exit 1
fi
