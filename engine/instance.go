package engine

/*
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"os"
	"sync"

	vk "github.com/vulkan-go/vulkan"
)

const (
	apiVersion1_1              = 1<<22 | 1<<12
	instanceCreatePortability  = 1 // VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR
	extPortabilityEnumeration  = "VK_KHR_portability_enumeration"
	extPortabilitySubset       = "VK_KHR_portability_subset"
	extDriverProperties        = "VK_KHR_driver_properties"
	extSubgroupSizeControl     = "VK_EXT_subgroup_size_control"
	extCooperativeMatrix       = "VK_KHR_cooperative_matrix"
	extCooperativeMatrix2      = "VK_NV_cooperative_matrix2"
	extBFloat16                = "VK_KHR_shader_bfloat16"
	extMemoryModel             = "VK_KHR_vulkan_memory_model"
	extMemoryBudget            = "VK_EXT_memory_budget"
	extFloat16Int8             = "VK_KHR_shader_float16_int8"
	ext16BitStorage            = "VK_KHR_16bit_storage"
	extExecutableProperties    = "VK_KHR_pipeline_executable_properties"
	driverTypeSoftware         = vk.PhysicalDeviceTypeCpu
	maxPhysicalDevices         = 64
	nullHardwareNameOfRADVMode = "null hardware"
)

var instance struct {
	mu     sync.Mutex
	handle vk.Instance
}

// openInstance creates the one Vulkan instance of the process.
func openInstance() (vk.Instance, error) {
	instance.mu.Lock()
	defer instance.mu.Unlock()
	if instance.handle != nil {
		return instance.handle, nil
	}
	if err := loadLibrary(); err != nil {
		return nil, err
	}
	extensions, err := readExtensions(func(out *C.shim_extension, n *C.uint32_t) C.int32_t {
		return C.shim_instance_extensions(library.get, out, n)
	})
	if err != nil {
		return nil, fmt.Errorf("vkEnumerateInstanceExtensionProperties: %w", err)
	}
	info := &vk.InstanceCreateInfo{
		SType: vk.StructureTypeInstanceCreateInfo,
		PApplicationInfo: &vk.ApplicationInfo{
			SType:            vk.StructureTypeApplicationInfo,
			PApplicationName: "vkalexnet\x00",
			ApiVersion:       apiVersion1_1,
		},
	}
	if extensions[extPortabilityEnumeration] {
		info.Flags = instanceCreatePortability
		info.EnabledExtensionCount = 1
		info.PpEnabledExtensionNames = []string{extPortabilityEnumeration + "\x00"}
	}
	var handle vk.Instance
	result := vk.CreateInstance(info, nil, &handle)
	info.Free()
	if result == -9 { // no driver at all
		cure := installHint()
		for _, name := range []string{"VK_DRIVER_FILES", "VK_ICD_FILENAMES"} { // it looks nowhere else then
			if files := os.Getenv(name); files != "" {
				cure = fmt.Sprintf("%s=%s names the only drivers that it looks at: check these files, or unset it", name, files)
				break
			}
		}
		return nil, fmt.Errorf("%w: the Vulkan loader %s found no driver; %s, or use --device cpu", ErrNoDevice, library.name, cure)
	}
	if err := check(result, "vkCreateInstance", "loader %s", library.name); err != nil {
		return nil, err
	}
	if err := vk.InitInstance(handle); err != nil {
		return nil, fmt.Errorf("load the instance's functions: %w", err)
	}
	instance.handle = handle
	return handle, nil
}

// readExtensions runs one of the shim's two-call enumerations.
func readExtensions(list func(*C.shim_extension, *C.uint32_t) C.int32_t) (map[string]bool, error) {
	var n C.uint32_t
	if r := list(nil, &n); r < 0 {
		return nil, check(vk.Result(r), "count", "")
	}
	set := make(map[string]bool, n)
	if n == 0 {
		return set, nil
	}
	out := make([]C.shim_extension, n)
	if r := list(&out[0], &n); r < 0 {
		return nil, check(vk.Result(r), "list", "")
	}
	for i := range out[:n] {
		set[C.GoString(&out[i].name[0])] = true
	}
	return set, nil
}
