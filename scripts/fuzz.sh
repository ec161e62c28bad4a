#!/usr/bin/env bash
# Runs every fuzz test for a while and lists what each did: fuzz.sh [TIME] [PATTERN]
# TIME is for each (20s), PATTERN which ones (all): a regular expression. In the
# environment: WORKERS, processes for each (1), LOG, the folder for what they said
# (fuzz-log). It goes on after a crasher and fails in the end; Go keeps the crasher's
# input under testdata/fuzz of the package, where every later `go test` tries it.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-20s} pattern=${2:-.} workers=${WORKERS:-1} log=${LOG:-fuzz-log}

mkdir -p "$log"
table=$log/table.txt
failed=0
printf '%-10s %-18s %8s %12s %9s %16s %16s  %s\n' package test seconds executions per/s 'new interesting' 'interesting' result | tee "$table"
for package in $(go list ./...); do
	for name in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' | grep -E -- "$pattern" || true); do
		out=$log/$(basename "$package")-$name.txt
		began=$SECONDS result=ok
		go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 5s -parallel "$workers" -timeout 0 "$package" >"$out" 2>&1 || { result="FAILED: $out" failed=1; }
		# The last line of progress that counts:
		# fuzz: elapsed: 20s, execs: 91872 (4593/sec), new interesting: 12 (total: 40)
		last=$(grep -E '^fuzz: elapsed: .* execs: ' "$out" | tail -n 1 || true)
		value() { sed -nE "s/.*$1([0-9]+).*/\1/p" <<<"$last"; }
		seconds=$((SECONDS - began)) execs=$(value 'execs: ')
		printf '%-10s %-18s %8s %12s %9s %16s %16s  %s\n' "$(basename "$package")" "$name" "$seconds" "${execs:-0}" \
			"$((${execs:-0} / (seconds > 0 ? seconds : 1)))" "$(value 'new interesting: ')" "$(value 'total: ')" "$result" | tee -a "$table"
	done
done
exit $failed
