#!/usr/bin/env bash
# gofmt, go vet, staticcheck, and shellcheck where it is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "lint: not gofmt'ed: $unformatted" >&2; exit 1; }
go vet ./...
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
if command -v shellcheck >/dev/null; then
	shellcheck -x scripts/*.sh .ci/run
fi
