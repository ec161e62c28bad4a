# shellcheck shell=bash
# Sourced by the other scripts: finds the software Vulkan drivers.

# first_file PATH... prints the first of the paths that is a file.
first_file() {
	local path
	for path; do
		[ -f "$path" ] && { realpath "$path"; return; }
	done
	return 1
}

# lavapipe_icd prints the driver manifest of Mesa's CPU driver, the one fetched into .tools first.
lavapipe_icd() {
	first_file .tools/mesa/lvp_icd.json /usr/share/vulkan/icd.d/lvp_icd*.json /usr/local/share/vulkan/icd.d/lvp_icd*.json
}

# swiftshader_icd prints the driver manifest of the CPU driver inside Chromium and Chrome.
swiftshader_icd() {
	first_file .tools/swiftshader/vk_swiftshader_icd.json /usr/lib/chromium/vk_swiftshader_icd.json \
		/usr/lib64/chromium-browser/vk_swiftshader_icd.json /opt/google/chrome/vk_swiftshader_icd.json \
		/snap/chromium/current/usr/lib/chromium-browser/vk_swiftshader_icd.json
}

# has_gpu_driver says whether the system has a Vulkan driver for a GPU that is there.
has_gpu_driver() {
	compgen -G '/dev/dri/renderD*' >/dev/null || [ -e /dev/nvidiactl ] || [ -e /dev/dxg ] || return 1
	compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null || compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null
}

# radv_icd prints the driver manifest of Mesa's driver for AMD, which compiles without
# one too; the one fetched into .tools first.
radv_icd() {
	first_file .tools/mesa/radeon_icd.json {/usr,/usr/local}/share/vulkan/icd.d/radeon_icd."$(uname -m)".json {/usr,/usr/local}/share/vulkan/icd.d/radeon_icd*.json
}
