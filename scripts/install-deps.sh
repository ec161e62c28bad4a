#!/usr/bin/env bash
# Installs what is missing for `make demo` (install-deps.sh demo) or `make test`
# (install-deps.sh test). On Debian and Ubuntu it uses apt, with sudo when not root;
# on other systems it says which packages are needed. It changes no apt sources.
#
# VKALEXNET_MESA=auto|system|backports: Debian 12's Mesa 22.3 computes about half as
# fast as the 25.0 in its backports. There, `auto` fetches that driver, and the one for
# AMD whose compiler the tests use, into .tools/mesa, beside the system's and used by
# these scripts only; `system` does not; `backports` fails when it cannot.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/drivers.sh

purpose=${1:-demo}
case $purpose in demo | test) ;; *) echo "usage: install-deps.sh demo|test" >&2; exit 2 ;; esac

say() { echo "install-deps: $*" >&2; }
die() { say "$*"; exit 1; }
# In continuous integration nothing may be left out; a person can do without.
skip() { if [ -n "${CI:-}" ]; then die "$*"; else say "$*"; fi; }
have() { command -v "$1" >/dev/null; }

has_loader() {
	if [ "$(uname)" = Darwin ]; then
		first_file {/opt/homebrew,/usr/local}/lib/{libvulkan.1,libMoltenVK}.dylib >/dev/null
	else
		(ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null || find /usr/lib /usr/local/lib -name libvulkan.so.1) | grep -q libvulkan.so.1
	fi
}
has_driver() { [ -n "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}" ] || has_gpu_driver || lavapipe_icd >/dev/null || [ "$(uname)" = Darwin ]; }
has_validation() {
	first_file {/usr,/usr/local,/opt/homebrew}/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json >/dev/null
}

missing() { # the Debian names of what is not there
	have gcc || have cc || echo gcc libc6-dev
	has_loader || echo libvulkan1
	if [ "$purpose" = demo ]; then
		has_driver || echo mesa-vulkan-drivers
	else
		lavapipe_icd >/dev/null || echo mesa-vulkan-drivers
		have glslc || echo glslc
		have spirv-val || echo spirv-tools
		has_validation || echo vulkan-validationlayers
	fi
}

have go || die "Go 1.26 or newer is missing: https://go.dev/doc/install"

id=$( (. /etc/os-release && echo "${ID:-} ${ID_LIKE:-}") 2>/dev/null || uname)
mapfile -t packages < <(missing | tr ' ' '\n')

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; elif have sudo; then sudo "$@"; else die "not root and no sudo: run as root: $*"; fi
}
updated=
apt_update() { [ -n "$updated" ] || as_root apt-get update -qq; updated=yes; }

case " $id " in
*" debian "* | *" ubuntu "*) ;;
*)
	if [ ${#packages[@]} -gt 0 ]; then
		say "missing, by their Debian names: ${packages[*]}. Please install"
		say "  Fedora  gcc vulkan-loader mesa-vulkan-drivers; for the tests: glslc spirv-tools vulkan-validation-layers chromium"
		say "  Arch    gcc vulkan-icd-loader vulkan-swrast (or your GPU's driver); for the tests: shaderc spirv-tools vulkan-validation-layers chromium"
		say "  Alpine  gcc musl-dev vulkan-loader mesa-vulkan-swrast; for the tests: shaderc spirv-tools vulkan-validation-layers"
		say "  macOS   brew install vulkan-loader molten-vk; for the tests: shaderc spirv-tools vulkan-validationlayers"
		exit 1
	fi
	[ "$purpose" = demo ] || swiftshader_icd >/dev/null || skip "SwiftShader is missing (it comes with Chromium and Chrome): tests run on the other devices only"
	exit 0
	;;
esac

if [ ${#packages[@]} -gt 0 ]; then
	say "installing ${packages[*]}"
	apt_update
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null ||
		die "apt-get could not install ${packages[*]}; see its message above"
fi

# Debian 12: the faster lavapipe and the newer compiler for AMD from backports, two
# drivers out of their package.
fetch_mesa() {
	local uri icd dir=$PWD/.tools/mesa.new keyring=/usr/share/keyrings/debian-archive-keyring.gpg options
	# shellcheck disable=SC2016 # apt's own variables
	uri=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^bookworm //p' | head -n 1)
	if [ -z "$uri" ] || [ ! -f $keyring ]; then say "no Debian 12 archive among apt's sources"; return 1; fi
	rm -rf "$dir" && mkdir -p "$dir"/apt/{lists,cache}/partial "$dir/apt/cache/archives/partial" || return 1
	echo "deb [signed-by=$keyring] $uri bookworm-backports main" >"$dir/apt/sources.list"
	: >"$dir/apt/status"
	options=(-qq -o Dir::Etc::sourcelist="$dir/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State="$dir/apt"
		-o Dir::State::lists="$dir/apt/lists" -o Dir::State::status="$dir/apt/status" -o Dir::Cache="$dir/apt/cache"
		-o APT::Sandbox::User="$(id -un)")
	apt-get "${options[@]}" update >&2 || return 1
	(cd "$dir" && apt-get "${options[@]}" download mesa-vulkan-drivers >&2) || return 1
	dpkg-deb --fsys-tarfile "$dir"/mesa-vulkan-drivers_*.deb |
		tar -x -C "$dir" --wildcards --transform 's|.*/||' --transform 's|_icd\..*|_icd.json|' \
			'*/libvulkan_lvp.so' '*/lvp_icd*.json' '*/libvulkan_radeon.so' '*/radeon_icd*.json' || return 1
	rm -rf "$dir/apt" "$dir"/*.deb
	if ldd "$dir/libvulkan_lvp.so" | grep 'not found' >&2; then return 1; fi
	if ldd "$dir/libvulkan_radeon.so" | grep 'not found' >&2; then return 1; fi
	for icd in lvp radeon; do
		sed -i "s|libvulkan_$icd.so|./libvulkan_$icd.so|" "$dir/${icd}_icd.json" || return 1
	done
	rm -rf .tools/mesa && mv "$dir" .tools/mesa
}
mesa=${VKALEXNET_MESA:-auto}
release=$( (. /etc/os-release && echo "$ID $VERSION_ID"))
if [ "$mesa" = system ]; then
	rm -rf .tools/mesa
elif { [ ! -f .tools/mesa/lvp_icd.json ] || [ ! -f .tools/mesa/radeon_icd.json ]; } && [ "$release" = "debian 12" ] && { [ "$purpose" = test ] || ! has_gpu_driver; }; then
	say "fetching Mesa 25.0's lavapipe, about twice as fast as Debian 12's, and RADV into .tools/mesa (11 MB to download, 24 MB kept; VKALEXNET_MESA=system does without)"
	if ! fetch_mesa; then
		rm -rf .tools/mesa.new
		[ "$mesa" = backports ] && die "Mesa from backports could not be fetched"
		say "that failed; going on with the system's Mesa"
	fi
elif [ "$mesa" = backports ] && [ ! -f .tools/mesa/lvp_icd.json ]; then
	say "VKALEXNET_MESA=backports has no effect here ($release)"
fi

# SwiftShader: two files out of Chromium's package, without installing the browser.
fetch_swiftshader() {
	local dir=$PWD/.tools/swiftshader
	apt_update
	grep -q '^Depends:.*libc6' <<<"$(apt-cache show chromium-common 2>/dev/null)" || return 1 # Ubuntu's is only a pointer to a snap
	rm -rf "$dir" && mkdir -p "$dir" || return 1
	(cd "$dir" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download chromium-common >&2) || return 1
	dpkg-deb --fsys-tarfile "$dir"/chromium-common_*.deb |
		tar -x -C "$dir" --wildcards --transform 's|.*/||' '*/libvk_swiftshader.so' '*/vk_swiftshader_icd.json' || return 1
	rm "$dir"/chromium-common_*.deb
}
if [ "$purpose" = test ] && ! swiftshader_icd >/dev/null; then
	say "fetching SwiftShader from Chromium's package into .tools/swiftshader (32 MB to download, 5 MB kept)"
	if ! fetch_swiftshader; then
		rm -rf .tools/swiftshader
		skip "SwiftShader is not to be had from apt here (Ubuntu's Chromium is a snap): install Chrome, or run snap install chromium, to test on it as well"
	fi
fi
