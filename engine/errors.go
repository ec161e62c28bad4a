package engine

import (
	"errors"
	"fmt"

	vk "github.com/vulkan-go/vulkan"
)

// Errors that callers act on; test with errors.Is.
var (
	// ErrNoDevice means that no usable Vulkan device was found.
	ErrNoDevice = errors.New("no usable Vulkan device")
	// ErrOutOfMemory means that the device has too little memory for what was asked.
	ErrOutOfMemory = errors.New("out of device memory")
	// ErrDeviceLost means that the driver gave the device up (a reset, a hang,
	// a removed card). Everything on it is gone; open it again.
	ErrDeviceLost = errors.New("device lost")
)

var resultNames = map[vk.Result]string{
	1: "VK_NOT_READY", 2: "VK_TIMEOUT", 3: "VK_EVENT_SET", 4: "VK_EVENT_RESET", 5: "VK_INCOMPLETE",
	-1: "VK_ERROR_OUT_OF_HOST_MEMORY", -2: "VK_ERROR_OUT_OF_DEVICE_MEMORY", -3: "VK_ERROR_INITIALIZATION_FAILED",
	-4: "VK_ERROR_DEVICE_LOST", -5: "VK_ERROR_MEMORY_MAP_FAILED", -6: "VK_ERROR_LAYER_NOT_PRESENT",
	-7: "VK_ERROR_EXTENSION_NOT_PRESENT", -8: "VK_ERROR_FEATURE_NOT_PRESENT", -9: "VK_ERROR_INCOMPATIBLE_DRIVER",
	-10: "VK_ERROR_TOO_MANY_OBJECTS", -11: "VK_ERROR_FORMAT_NOT_SUPPORTED", -12: "VK_ERROR_FRAGMENTED_POOL",
	-13: "VK_ERROR_UNKNOWN", -1000069000: "VK_ERROR_OUT_OF_POOL_MEMORY", -1000012000: "VK_ERROR_INVALID_SHADER_NV",
}

// check turns the result of a Vulkan call into an error that names the call,
// the object (format and args) and the result; nil for success.
func check(result vk.Result, call, format string, args ...any) error {
	if result >= 0 {
		return nil
	}
	name, ok := resultNames[result]
	if !ok {
		name = fmt.Sprintf("VkResult %d", int32(result))
	}
	what := fmt.Sprintf(format, args...)
	if what != "" {
		what = " (" + what + ")"
	}
	switch result {
	case -1, -2, -1000069000:
		return fmt.Errorf("%s%s: %w: %s", call, what, ErrOutOfMemory, name)
	case -4:
		return fmt.Errorf("%s%s: %w: %s", call, what, ErrDeviceLost, name)
	}
	return fmt.Errorf("%s%s: %s", call, what, name)
}
