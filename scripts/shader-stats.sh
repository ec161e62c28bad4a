#!/usr/bin/env bash
# What AMD's compiler in Mesa (RADV) makes of every kernel, without AMD hardware: prints
# registers, shared memory, spills and occupancy on each family of GPUs, and fails when
# a kernel spills vector registers. Needs bin/vkalexnet; takes shader-stats's flags.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/drivers.sh

say() { echo "shader-stats: $*" >&2; }
# In continuous integration nothing may be left out.
skip() { if [ -n "${CI:-}" ]; then say "$*"; exit 1; else say "skipped: $*"; exit 0; fi; }

driver=$(radv_icd) || skip "Mesa's RADV is not installed (Debian: mesa-vulkan-drivers, Arch: vulkan-radeon, Alpine: mesa-vulkan-ati)"
export VK_DRIVER_FILES=$driver VK_ICD_FILENAMES=$driver
export MESA_SHADER_CACHE_DISABLE=true # what is printed was compiled now

# compiles_for FAMILY says whether this RADV can be made to compile for a GPU that is not
# there. It ends the process over a name that it does not know.
compiles_for() {
	local devices
	devices=$(RADV_FORCE_FAMILY=$1 bin/vkalexnet devices --format json 2>/dev/null) || true # none is usable
	[[ $devices == *'"compile_only": true'* ]]
}

failed=
compiles_for polaris10 || skip "the RADV of $driver cannot compile without its hardware: Mesa 22 to 25 can"
for family in polaris10 vega10 navi21 navi31; do
	name=$family
	compiles_for "$name" || { [ "$family" = navi31 ] && name=gfx1100; } # as Mesa 22 calls it
	compiles_for "$name" || { say "the RADV of $driver does not know $family"; failed=yes; continue; }
	RADV_FORCE_FAMILY=$name bin/vkalexnet shader-stats "$@" 2> >(grep -v '^ac_compute_device_uuid' >&2) || failed=yes
	echo
done
[ -z "$failed" ]
