#!/usr/bin/env bash
# Everything that continuous integration checks: test.sh, or one part of it:
#   test.sh deps|build|shaders|shader-stats|lint|unit|race|validation
# Each part takes what the parts before it leave, so a part alone needs `deps` once.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/drivers.sh

die() { echo "test: $*" >&2; exit 1; }

# All drivers at once, so that a test sees them as devices of one process.
use_drivers() {
	local drivers=() icd
	for name in lavapipe swiftshader; do
		if icd=$("${name}_icd"); then
			drivers+=("$icd")
		elif [ -n "${CI:-}" ]; then
			die "$name is missing"
		fi
	done
	[ ${#drivers[@]} -gt 0 ] || { echo "test: no software driver found; using the system's devices"; return; }
	VK_DRIVER_FILES=$(IFS=:; echo "${drivers[*]}")
	export VK_DRIVER_FILES
	export VK_ICD_FILENAMES=$VK_DRIVER_FILES # the name that loaders before 1.3.207 know
	echo "test: drivers $VK_DRIVER_FILES"
}

deps() { scripts/install-deps.sh test; }
build() { make --no-print-directory build; }
shaders() { scripts/shaders.sh check; }
shader-stats() { scripts/shader-stats.sh; }
lint() { scripts/lint.sh; }
unit() { go test -timeout 30m ./...; }
race() { go test -race -short -timeout 20m ./loader ./engine ./alexnet ./server; }

# The Khronos validation layer, with synchronization checks within and across
# submits, has to stay silent. It writes to the tests' standard output, which
# go test shows only with -v; the loader's log proves that the layer was there.
validation() {
	local log
	log=$(mktemp)
	VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation VK_LOADER_DEBUG=layer \
		VK_LAYER_ENABLES=VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT:VALIDATION_CHECK_ENABLE_SYNCHRONIZATION_VALIDATION_QUEUE_SUBMIT \
		VK_LAYER_VALIDATE_SYNC=1 \
		go test -v -count=1 -short -timeout 30m ./engine ./alexnet ./tests >"$log" 2>&1 || { grep -vE '^(INFO|LAYER|DEBUG|WARNING)' "$log" | tail -n 100; die "tests failed under the validation layer ($log)"; }
	if grep -m 50 -nE 'VUID-|SYNC-HAZARD|UNASSIGNED-|Validation (Error|Warning)' "$log"; then
		die "the validation layer reports the above ($log)"
	fi
	if ! grep -qiE 'insert instance layer.*VK_LAYER_KHRONOS_validation' "$log"; then
		[ -z "${CI:-}" ] || die "the validation layer was not loaded ($log)"
		echo "test: validation skipped: VK_LAYER_KHRONOS_validation is not installed"
	fi
	grep -E '^(ok|\?) ' "$log"
	rm "$log"
}

parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(deps build shaders shader-stats lint unit race validation)
summary=
begin=$SECONDS
for part in "${parts[@]}"; do
	case $part in deps | build | shaders | shader-stats | lint | unit | race | validation) ;; *) die "no part $part" ;; esac
	case $part in unit | race | validation) [ -n "${VK_DRIVER_FILES:-}" ] || use_drivers ;; esac
	echo "test: $part"
	start=$SECONDS
	"$part"
	summary+="$part $((SECONDS - start)) s, "
done
echo "test: all passed in $((SECONDS - begin)) s (${summary%, })"
