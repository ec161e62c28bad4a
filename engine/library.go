package engine

/*
#cgo linux LDFLAGS: -ldl
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	vk "github.com/vulkan-go/vulkan"
)

// libraryNames are the Vulkan loader's file names in the order they are tried.
// The name without a version is what only development packages install, so it
// comes second on Linux.
func libraryNames() []string {
	switch runtime.GOOS {
	case "windows":
		return []string{"vulkan-1.dll"}
	case "darwin", "ios":
		return []string{"libvulkan.1.dylib", "libvulkan.dylib", "libMoltenVK.dylib",
			"/opt/homebrew/lib/libvulkan.1.dylib", "/opt/homebrew/lib/libMoltenVK.dylib", "/usr/local/lib/libvulkan.1.dylib"}
	}
	return []string{"libvulkan.so.1", "libvulkan.so"}
}

func installHint() string {
	switch runtime.GOOS {
	case "windows":
		return "install or update the graphics driver, which brings vulkan-1.dll"
	case "darwin", "ios":
		return "install it with: brew install vulkan-loader molten-vk"
	}
	return "install it with: apt install libvulkan1 mesa-vulkan-drivers   (Fedora: dnf install vulkan-loader mesa-vulkan-drivers; Arch: pacman -S vulkan-icd-loader and your card's vulkan driver)"
}

var library struct {
	once sync.Once
	get  unsafe.Pointer // vkGetInstanceProcAddr
	name string
	err  error
}

// loadLibrary opens the Vulkan loader once and hands it to the binding.
func loadLibrary() error {
	library.once.Do(func() {
		var tried []string
		for _, name := range libraryNames() {
			cname := C.CString(name)
			var message [256]C.char
			handle := C.shim_open(cname, &message[0], C.size_t(len(message)))
			C.free(unsafe.Pointer(cname))
			if handle == nil {
				tried = append(tried, C.GoString(&message[0]))
				continue
			}
			symbol := C.CString("vkGetInstanceProcAddr")
			library.get = C.shim_symbol(handle, symbol)
			C.free(unsafe.Pointer(symbol))
			if library.get == nil {
				tried = append(tried, name+": has no vkGetInstanceProcAddr")
				continue
			}
			library.name = name
			vk.SetGetInstanceProcAddr(library.get)
			if err := vk.Init(); err != nil {
				library.err = fmt.Errorf("load %s: %w: %w", name, ErrNoDevice, err)
			}
			return
		}
		library.err = fmt.Errorf("%w: the Vulkan loader is not installed (%s); %s, or use --device cpu",
			ErrNoDevice, strings.Join(tried, "; "), installHint())
	})
	return library.err
}
