#!/usr/bin/env bash
# Runs every fuzz test for a while: fuzz.sh 20s
set -euo pipefail
cd "$(dirname "$0")/.."

for package in $(go list ./...); do
	for name in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "fuzz: $package $name"
		go test -run '^$' -fuzz "^$name\$" -fuzztime "${1:-20s}" "$package"
	done
done
