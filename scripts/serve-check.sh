#!/bin/sh
# The page in headless Chromium, and serve under load, with a network trained here.
#   serve-check.sh page [SCREENSHOT]    serve-check.sh load [SECONDS]
set -eu
cd "$(dirname "$0")/.."
what=$1
run=${RUN:-demo}
device=${DEVICE:-auto}
[ -e "$run/best.safetensors" ] || { echo "no trained network in $run: make demo, or RUN=folder of a run" >&2; exit 1; }
work=$(mktemp -d)
trap 'kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
go run ./scripts/picture >"$work/picture.png"
bin/vkalexnet serve --weights "$run" --device "$device" --listen 127.0.0.1:0 2>"$work/log" &
pid=$!
for _ in $(seq 300); do
    url=$(sed -n 's/^serving .*: \(http:.*\)\/$/\1/p' "$work/log")
    [ -n "$url" ] && break
    kill -0 "$pid" || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done
cat "$work/log"
case $what in
page)
    go test ./server -count=1 -run 'TestPage$' -browser
    go test ./server -count=1 -run 'TestPage$' -browser -browser-url "$url" -browser-picture "$work/picture.png" ${2:+-screenshot "$(realpath -m "$2")"}
    ;;
load) go test ./server -count=1 -v -timeout 30m -run 'TestLoad$' -load-url "$url" -load-pid "$pid" -load-picture "$work/picture.png" -load-time "${2:-15}s" ;;
esac
kill -TERM "$pid"
wait "$pid"
