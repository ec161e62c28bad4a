#!/usr/bin/env bash
# Fine-tuning, frozen against full: alexnet-small learns five classes of CIFAR-10 at
# 64×64, then five others from few pictures: with its convolutions frozen, with all of it,
# and from nothing. Usage: finetune-proof.sh CIFAR.tar.gz, an archive with
# train/<class>/*.jpg and test/<class>/*.jpg. The sizes can be set in the environment.
set -euo pipefail
cd "$(dirname "$0")/.."
archive=${1:?usage: finetune-proof.sh CIFAR.tar.gz}
: "${FIRST:=300}" "${FIRST_EPOCHS:=4}" "${SECOND:=40}" "${SECOND_EPOCHS:=8}" "${VAL:=50}" "${DEVICE:=auto}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -xzf "$archive" -C "$work"
lists() { # lists DIR PICTURES CLASS...
    local dir=$1 n=$2 class
    shift 2
    mkdir -p "$work/$dir"
    for class in "$@"; do
        find "$work/train/$class" -type f | sort | head -n "$n" | sed "s/\$/\t$class/" >>"$work/$dir/train.txt" || true
        find "$work/test/$class" -type f | sort | head -n "$VAL" | sed "s/\$/\t$class/" >>"$work/$dir/val.txt" || true
    done
}
lists first "$FIRST" bird cat deer dog frog
lists second "$SECOND" airplane automobile horse ship truck
train() { # train NAME FLAGS...
    local name=$1 began
    shift
    began=$(date +%s.%N)
    bin/vkalexnet train --device "$DEVICE" --seed 1 --output-dir "$work/$name" "$@" >"$work/$name.out" 2>"$work/$name.err" ||
        { cat "$work/$name.err"; exit 1; }
    printf '%-9s %6.1f s  ' "$name" "$(date +"%s.%N $began" | awk '{print $1 - $2}')"
    grep '^best top-1' "$work/$name.out"
}
echo "first: 5 classes, $FIRST pictures each, $FIRST_EPOCHS epochs; second: 5 others, $SECOND pictures each, $SECOND_EPOCHS epochs; validated on $VAL of each"
train first --model alexnet-small --data "$work/first" --epochs "$FIRST_EPOCHS"
grep '^device' "$work/first.err"
second=(--data "$work/second" --epochs "$SECOND_EPOCHS" --batch-size 20)
train frozen --weights "$work/first" --reinit fc8 --freeze conv1..conv5 --lr-mult fc8=10 "${second[@]}"
train full --weights "$work/first" --reinit fc8 --lr-mult fc8=10 "${second[@]}"
train nothing --model alexnet-small "${second[@]}"
