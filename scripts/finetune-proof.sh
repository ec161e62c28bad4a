#!/usr/bin/env bash
# Fine-tuning, frozen against full: a network learns five classes of CIFAR-10 from
# nothing, then five others: with its convolutions frozen, with all of it, and from
# nothing. Usage: finetune-proof.sh CIFAR.tar.gz, an archive with train/<class>/*.jpg and
# test/<class>/*.jpg. It needs bin/vkalexnet, python3 and coreutils, and builds nothing.
#
# In the environment: FIRST and SECOND, training pictures of each class (300, 40);
# FIRST_EPOCHS, SECOND_EPOCHS (4, 8); BATCH of the second (20); VAL, validation pictures of
# each class (50); SEEDS of the second (1); MODEL (alexnet-small: 64×64 pixels); DEVICE
# (auto); FLAGS for all runs; OUT, a folder to keep the runs in (none is kept).
#
# The time of a step is the median of a run's steps without its first ten, so that a busy
# machine or the first compilation changes it little.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
archive=${1:?usage: finetune-proof.sh CIFAR.tar.gz}
: "${FIRST:=300}" "${FIRST_EPOCHS:=4}" "${SECOND:=40}" "${SECOND_EPOCHS:=8}" "${BATCH:=20}" "${VAL:=50}"
: "${SEEDS:=1}" "${MODEL:=alexnet-small}" "${DEVICE:=auto}" "${FLAGS:=}" "${OUT:=}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
runs=${OUT:-$work/runs}
mkdir -p "$runs"
tar -tzf "$archive" | grep '\.jpg$' | sort >"$work/members"
lists() { # lists DIR PICTURES CLASS...
    local dir=$1 n=$2 class
    shift 2
    mkdir -p "$work/$dir"
    for class in "$@"; do # of the archive, only what is used is unpacked
        grep -E "(^|/)train/$class/" "$work/members" | head -n "$n" | sed "s|.*|$work/&\t$class|" >>"$work/$dir/train.txt" || true
        grep -E "(^|/)test/$class/" "$work/members" | head -n "$VAL" | sed "s|.*|$work/&\t$class|" >>"$work/$dir/val.txt" || true
    done
}
lists first "$FIRST" bird cat deer dog frog
lists second "$SECOND" airplane automobile horse ship truck
cut -f 1 "$work"/{first,second}/{train,val}.txt | sed "s|^$work/||" | tar -xzf "$archive" -C "$work" -T -
printf '%-10s %4s %7s %9s %9s %12s %10s %8s %9s\n' run seed steps 'top-1 %' 'at epoch' 'ms a step' 'seconds' 'epochs' 'data %'
train() { # train NAME SEED FLAGS...
    local name=$1 seed=$2 began=$EPOCHREALTIME
    shift 2
    # shellcheck disable=SC2086 # several words
    bin/vkalexnet train --device "$DEVICE" --seed "$seed" --output-dir "$runs/$name-$seed" $FLAGS "$@" >"$work/out" 2>"$work/err" ||
        { cat "$work/err" >&2; exit 1; }
    python3 - "$runs/$name-$seed/metrics.jsonl" "$name" "$seed" "$began" "$EPOCHREALTIME" <<'EOF'
import json, statistics, sys
path, name, seed, began, ended = sys.argv[1:]
rows = [json.loads(line) for line in open(path)]
steps = [r for r in rows if r["kind"] == "step"]
epochs = [r for r in rows if r["kind"] == "epoch"]
# Pictures a step are the same in every step of a run: their number over the rate is the time.
batch = int([line for line in open(path.replace("metrics.jsonl", "config.toml")) if line.startswith("batch_size")][0].split("=")[1])
times = [1000 * batch / r["images_per_second"] for r in steps[10:] or steps]
wait = sum(r["data_wait"] / r["images_per_second"] for r in steps) / sum(1 / r["images_per_second"] for r in steps)
best = max(epochs, key=lambda r: r["val_top1"])
print(f'{name:<10} {seed:>4} {len(steps):>7} {100 * best["val_top1"]:>9.2f} {best["epoch"] + 1:>9} {statistics.median(times):>12.3f} '
      f'{float(ended) - float(began):>10.1f} {len(epochs):>8} {100 * wait:>9.2f}', flush=True)
EOF
}
train first 1 --model "$MODEL" --data "$work/first" --epochs "$FIRST_EPOCHS"
second=(--data "$work/second" --epochs "$SECOND_EPOCHS" --batch-size "$BATCH")
for seed in $SEEDS; do
    train frozen "$seed" --weights "$runs/first-1" --reinit fc8 --freeze conv1..conv5 --lr-mult fc8=10 "${second[@]}"
    train full "$seed" --weights "$runs/first-1" --reinit fc8 --lr-mult fc8=10 "${second[@]}"
    train nothing "$seed" --model "$MODEL" "${second[@]}"
done
echo
grep -h '^device\|^decoder' "$work/err"
echo "first: 5 classes of $FIRST pictures, $FIRST_EPOCHS epochs; second: 5 others of $SECOND, $SECOND_EPOCHS epochs, batches of $BATCH; validated on $VAL of each; $MODEL $FLAGS"
