#!/usr/bin/env bash
# The page that `vkalexnet bench report` makes of results, as a picture: its figures, from the top.
#   scripts/report-picture.sh OUT.png RESULT.json...      HEIGHT=1500 and WIDTH=1000 in pixels
# Needs bin/vkalexnet and chromium.
set -euo pipefail
out=$(realpath "$1")
shift
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || { echo "report-picture: install chromium" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$(dirname "$0")"/../bin/vkalexnet bench report "$@" --out "$work/report.html"
"$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$work/profile" \
	--window-size="${WIDTH:-1000},${HEIGHT:-1500}" --screenshot="$work/report.png" "file://$work/report.html" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
mv "$work/report.png" "$out"
