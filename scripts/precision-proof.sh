#!/usr/bin/env bash
# Trains one network in fp32, fp16 and bf16 with the same seed and schedule and
# compares the last top-1: precision-proof.sh DATA OUTPUT [train flags...]
#   make precision-proof DATA=cifar-10-batches-bin
# Fails when a precision is more than 0.5 points below fp32. Each run's curves are
# in OUTPUT/<precision>/loss.png, the numbers in OUTPUT/accuracy.csv.
set -euo pipefail
cd "$(dirname "$0")/.."

data=${1:?usage: precision-proof.sh DATA OUTPUT [train flags...]}
output=${2:?usage: precision-proof.sh DATA OUTPUT [train flags...]}
shift 2
model=${MODEL:-alexnet-cifar}
limit=${LIMIT:-0.5} # percentage points

mkdir -p "$output"
rows=
reference=
failed=0
for precision in fp32 fp16 bf16; do
	run=$output/$precision
	if [ -f "$run/last.safetensors" ]; then
		bin/vkalexnet train --resume "$run"
	else
		bin/vkalexnet train --model "$model" --data "$data" --seed 1 --precision "$precision" --output-dir "$run" "$@"
	fi
	top1=$(sed -n 's/.*"kind":"epoch".*"val_top1":\([0-9.e-]*\).*/\1/p' "$run/metrics.jsonl" | tail -n 1)
	[ -n "$top1" ] || { echo "precision-proof: $run has no completed epoch to compare" >&2; exit 1; }
	reference=${reference:-$top1}
	below=$(awk -v a="$reference" -v b="$top1" 'BEGIN { printf "%.2f", 100 * (a - b) }')
	awk -v b="$below" -v l="$limit" 'BEGIN { exit !(b > l) }' && failed=1
	rows+="$precision,$top1,$below"$'\n'
done
printf 'precision,top1,points_below_fp32\n%s' "$rows" | tee "$output/accuracy.csv"
[ "$failed" = 0 ] || { echo "precision-proof: a precision is more than $limit points below fp32" >&2; exit 1; }
