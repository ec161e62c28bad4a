// Package engine runs compute work on any Vulkan 1.1 device. It knows nothing
// of networks: it opens devices, holds buffers, binds SPIR-V kernels to Go
// argument structs by name, and replays recorded programs. It is the only
// package that imports the Vulkan binding.
package engine
