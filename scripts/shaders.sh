#!/usr/bin/env bash
# Compiles shaders/*.comp.
#   shaders.sh build   writes shaders/spv/*.spv and the compiler's version to shaders/spv/COMPILER
#   shaders.sh check   compiles into a temporary folder and compares with what is committed
#
# x.comp becomes x.spv. Lines of the form
#   // variant NAME: -DTILE=8 -DHALF
# make it NAME.spv for each of them instead, compiled with those options. A source
# with the line
#   // requires newer glslc
# needs a compiler that older distributions lack: its path is taken from
# GLSLC_NEWER, and without one the committed module is left as it is. The version
# of the compiler that made those modules is in shaders/spv/COMPILER_NEWER; the
# validator that belongs to it is taken from SPIRV_VAL_NEWER.
#
# glslc's -O is not used: it strips the names that the host matches arguments by.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:?usage: shaders.sh build|check}
committed=shaders/spv
glslc=${GLSLC:-glslc}
newer=${GLSLC_NEWER:-}
newer_val=${SPIRV_VAL_NEWER:-}
spirv_val=${SPIRV_VAL:-spirv-val}

die() { echo "shaders: $*" >&2; exit 1; }

for tool in "$glslc" "$spirv_val"; do
	command -v "$tool" >/dev/null && continue
	[ "$mode" = check ] && [ -z "${CI:-}" ] && { echo "shaders: check skipped: $tool is not installed (scripts/install-deps.sh test)"; exit 0; }
	die "$tool is not installed (scripts/install-deps.sh test)"
done

version() { "$1" --version | sed '/^$/d; /^Target/d'; }

if [ "$mode" = check ] && ! diff <(version "$glslc") "$committed/COMPILER" >/dev/null 2>&1; then
	text="this machine's glslc ($(version "$glslc" | head -n 1)) is not the one that compiled $committed ($(head -n 1 "$committed/COMPILER" 2>/dev/null || echo unknown))"
	[ -n "${CI:-}" ] && die "$text"
	echo "shaders: check skipped: $text"
	exit 0
fi

if [ "$mode" = check ] && [ -n "$newer" ] && ! diff <(version "$newer") "$committed/COMPILER_NEWER" >/dev/null 2>&1; then
	echo "shaders: $newer is not the compiler of $committed/COMPILER_NEWER: its modules are not checked"
	newer=
fi

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
kept=0

# compile SOURCE NAME OPTIONS...
compile() {
	local source=$1 name=$2 compiler=$glslc
	shift 2
	if grep -q '^// requires newer glslc' "$source"; then
		if [ -z "$newer" ]; then
			[ -f "$committed/$name.spv" ] || die "$source needs a newer glslc: set GLSLC_NEWER to one"
			cp "$committed/$name.spv" "$out/"
			kept=$((kept + 1))
			return
		fi
		compiler=$newer
	fi
	"$compiler" --target-env=vulkan1.1 -Ishaders/include "$@" -o "$out/$name.spv" "$source" || die "$source does not compile as $name"
	if [ "$compiler" = "$newer" ]; then # the older validator may not know its extensions
		[ -z "$newer_val" ] || "$newer_val" --target-env vulkan1.1 "$out/$name.spv" || die "$name.spv is not valid"
		return
	fi
	"$spirv_val" --target-env vulkan1.1 "$out/$name.spv" || die "$name.spv is not valid"
}

shopt -s nullglob
for source in shaders/*.comp; do
	variants=$(sed -n 's|^// variant \([A-Za-z0-9_]*\): *|\1 |p' "$source")
	if [ -z "$variants" ]; then
		compile "$source" "$(basename "$source" .comp)"
		continue
	fi
	while read -r name options; do
		# shellcheck disable=SC2086 # the options are several words
		compile "$source" "$name" $options
	done <<<"$variants"
done

modules=("$out"/*.spv)
case $mode in
build)
	mkdir -p "$committed"
	rm -f "$committed"/*.spv
	[ ${#modules[@]} -eq 0 ] || cp "${modules[@]}" "$committed/"
	version "$glslc" >"$committed/COMPILER"
	[ -z "$newer" ] || version "$newer" >"$committed/COMPILER_NEWER"
	echo "shaders: ${#modules[@]} modules in $committed, $kept of them left as they were"
	;;
check)
	stale=0
	for path in "$out"/*.spv "$committed"/*.spv; do
		name=$(basename "$path")
		cmp -s "$out/$name" "$committed/$name" && continue
		echo "shaders: $committed/$name is not what its source gives" >&2
		stale=1
	done
	[ "$stale" -eq 0 ] || die "run make shaders and commit the result"
	echo "shaders: ${#modules[@]} modules are what their sources give, $kept of them unchecked (newer glslc)"
	;;
*) die "usage: shaders.sh build|check" ;;
esac
