package engine

/*
#include "shim.h"
*/
import "C"

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	vk "github.com/vulkan-go/vulkan"
)

// Type is the kind of a device, in the order in which "auto" prefers them.
type Type string

// The types of devices.
const (
	Discrete   Type = "discrete"
	Integrated Type = "integrated"
	Virtual    Type = "virtual"
	Software   Type = "software"
	Other      Type = "other"
)

// Info describes a physical device. Sizes are in bytes.
type Info struct {
	Index         int    `json:"index"`
	Name          string `json:"name"`
	Type          Type   `json:"type"`
	VendorID      uint32 `json:"vendor_id"`
	Vendor        string `json:"vendor"`
	DeviceID      uint32 `json:"device_id"`
	Driver        string `json:"driver"`
	DriverVersion string `json:"driver_version"`
	API           string `json:"api"`
	UUID          string `json:"uuid"`
	// DriverKey tells one driver build from another: for caches on disk.
	DriverKey string `json:"driver_key"`

	Limits   Limits   `json:"limits"`
	Features Features `json:"features"`
	// Memory is the size of the largest device-local heap; Free is what the
	// driver says is left of it (0 where it does not tell).
	Memory uint64 `json:"memory"`
	Free   uint64 `json:"free,omitempty"`
	// Rejected says why the device cannot be used; empty when it can.
	Rejected string `json:"rejected,omitempty"`
	// CompileOnly is set where the driver compiles kernels for hardware that is
	// not there: the device is Rejected for all but OpenForStatistics.
	CompileOnly bool `json:"compile_only,omitempty"`

	physical   vk.PhysicalDevice
	extensions map[string]bool
	families   []queueFamily
	memory     memoryTypes
}

// Features are the optional abilities that kernels may make use of.
type Features struct {
	SubgroupSize    uint32 `json:"subgroup_size"`
	SubgroupMin     uint32 `json:"subgroup_min"` // 0 where the driver does not tell
	SubgroupMax     uint32 `json:"subgroup_max"`
	SubgroupBallot  bool   `json:"subgroup_ballot"` // broadcast and ballot in compute shaders
	SubgroupShuffle bool   `json:"subgroup_shuffle"`
	SubgroupQuad    bool   `json:"subgroup_quad"` // exchanges between four invocations in compute shaders
	Float16         bool   `json:"float16"`       // half arithmetic
	Storage16       bool   `json:"storage16"`     // half storage buffers
	Int8            bool   `json:"int8"`
	Int64           bool   `json:"int64"` // 64-bit integers in shaders
	Timestamps      bool   `json:"timestamps"`
	// Matrices are the fp16 matrices that a subgroup multiplies into float32 sums
	// (VK_KHR_cooperative_matrix); none where the device cannot.
	Matrices []MatrixSize `json:"matrices,omitempty"`
	// MatricesBF16 are those of bf16 (VK_KHR_shader_bfloat16).
	MatricesBF16 []MatrixSize `json:"matrices_bf16,omitempty"`
	// Flexible are the fp16 matrices of many sizes (VK_NV_cooperative_matrix2).
	Flexible []FlexibleSize `json:"flexible_matrices,omitempty"`
	// FlexibleBF16 are those of bf16.
	FlexibleBF16 []FlexibleSize `json:"flexible_matrices_bf16,omitempty"`
}

// MatrixSize is a product of cooperative matrices: M × K by K × N.
type MatrixSize struct {
	M uint32 `json:"m"`
	N uint32 `json:"n"`
	K uint32 `json:"k"`
}

// FlexibleSize are products of cooperative matrices whose sizes are multiples of M, N and K.
type FlexibleSize struct {
	MatrixSize
	// Invocations is the size of the workgroup that holds them; 0 where a subgroup does.
	Invocations uint32 `json:"invocations,omitempty"`
}

// flexible are the sizes that a device with matrices and that extension lists, of fp16 and
// bf16; those of workgroups with the feature alone.
func (i *Info) flexible(inst vk.Instance) {
	if !i.extensions[extCooperativeMatrix2] {
		return
	}
	instance, physical := C.shim_handle(unsafe.Pointer(inst)), C.shim_handle(unsafe.Pointer(i.physical))
	known := C.shim_matrix2_of(library.get, instance, physical)
	if known.flexible == 0 {
		return
	}
	list := func(component C.uint32_t) (sizes []FlexibleSize) {
		var found [64]C.shim_flexible
		n := C.shim_flexible_matrices(library.get, instance, physical, component, &found[0], C.uint32_t(len(found)))
		for _, f := range found[:n] {
			if f.invocations == 0 || known.workgroups != 0 && f.invocations <= known.invocations {
				sizes = append(sizes, FlexibleSize{MatrixSize{uint32(f.m), uint32(f.n), uint32(f.k)}, uint32(f.invocations)})
			}
		}
		return sizes
	}
	i.Limits.MatrixShared, i.Limits.MatrixSize = uint32(known.reserved), uint32(known.size)
	i.Features.Flexible = list(C.shim_component_fp16)
	if len(i.Features.MatricesBF16) > 0 {
		i.Features.FlexibleBF16 = list(C.shim_component_bf16)
	}
}

// hasWorkgroupMatrices says whether workgroups hold some of them.
func (f *Features) hasWorkgroupMatrices() bool {
	return slices.ContainsFunc(slices.Concat(f.Flexible, f.FlexibleBF16), func(s FlexibleSize) bool { return s.Invocations > 0 })
}

// matrixExtensions are what kernels with cooperative matrices need.
var matrixExtensions = []string{extCooperativeMatrix, extMemoryModel, extFloat16Int8, extSubgroupSizeControl}

// matrices are the sizes that a device with those extensions lists, of fp16 and
// of bf16. Its function may be called only there: with several drivers the loader
// knows it when one has it.
func (i *Info) matrices(inst vk.Instance) (fp16, bf16 []MatrixSize) {
	for _, name := range matrixExtensions {
		if !i.extensions[name] {
			return nil, nil
		}
	}
	instance, physical := C.shim_handle(unsafe.Pointer(inst)), C.shim_handle(unsafe.Pointer(i.physical))
	list := func(component C.uint32_t) (sizes []MatrixSize) {
		var found [32]C.shim_matrix
		n := C.shim_matrices(library.get, instance, physical, component, &found[0], C.uint32_t(len(found)))
		for _, f := range found[:n] {
			sizes = append(sizes, MatrixSize{uint32(f.m), uint32(f.n), uint32(f.k)})
		}
		return sizes
	}
	fp16 = list(C.shim_component_fp16)
	if i.extensions[extBFloat16] && C.shim_bfloat16_matrices(library.get, instance, physical) != 0 {
		bf16 = list(C.shim_component_bf16)
	}
	return fp16, bf16
}

type queueFamily struct {
	flags         uint32
	timestampBits uint32
}

type memoryTypes struct {
	flags []vk.MemoryPropertyFlags
	heap  []uint32
	heaps []uint64
}

var vendors = map[uint32]string{0x1002: "AMD", 0x10de: "NVIDIA", 0x8086: "Intel", 0x106b: "Apple", 0x5143: "Qualcomm",
	0x13b5: "Arm", 0x1010: "Imagination", 0x10005: "Mesa", 0x1ae0: "Google", 0x1414: "Microsoft"}

// Devices lists the physical devices of this machine, the unusable ones too
// (see Info.Rejected). It fails with ErrNoDevice where there is no Vulkan.
func Devices() ([]Info, error) {
	inst, err := openInstance()
	if err != nil {
		return nil, err
	}
	n := uint32(maxPhysicalDevices)
	handles := make([]vk.PhysicalDevice, n)
	result := vk.EnumeratePhysicalDevices(inst, &n, handles)
	if err := check(result, "vkEnumeratePhysicalDevices", ""); err != nil {
		return nil, fmt.Errorf("%w: %w; %s, or use --device cpu", ErrNoDevice, err, installHint())
	}
	infos := make([]Info, 0, n)
	for i, h := range handles[:n] {
		info, err := describe(inst, h)
		if err != nil {
			return nil, err
		}
		info.Index = i
		infos = append(infos, info)
	}
	return infos, nil
}

func describe(inst vk.Instance, h vk.PhysicalDevice) (Info, error) {
	var p vk.PhysicalDeviceProperties
	vk.GetPhysicalDeviceProperties(h, &p)
	p.Deref()
	p.Limits.Deref()
	defer p.Free()
	info := Info{
		Name:     vk.ToString(p.DeviceName[:]),
		VendorID: p.VendorID, DeviceID: p.DeviceID,
		Vendor:   vendors[p.VendorID],
		API:      version(p.ApiVersion),
		physical: h,
	}
	if info.Vendor == "" {
		info.Vendor = fmt.Sprintf("vendor %#x", p.VendorID)
	}
	switch p.DeviceType {
	case vk.PhysicalDeviceTypeDiscreteGpu:
		info.Type = Discrete
	case vk.PhysicalDeviceTypeIntegratedGpu:
		info.Type = Integrated
	case vk.PhysicalDeviceTypeVirtualGpu:
		info.Type = Virtual
	case driverTypeSoftware:
		info.Type = Software
	default:
		info.Type = Other
	}
	extensions, err := readExtensions(func(out *C.shim_extension, n *C.uint32_t) C.int32_t {
		return C.shim_device_extensions(library.get, C.shim_handle(unsafe.Pointer(inst)), C.shim_handle(unsafe.Pointer(h)), out, n)
	})
	if err != nil {
		return info, fmt.Errorf("vkEnumerateDeviceExtensionProperties (%s): %w", info.Name, err)
	}
	info.extensions = extensions
	var families [32]C.shim_queue_family
	count := C.uint32_t(len(families))
	C.shim_queue_families(library.get, C.shim_handle(unsafe.Pointer(inst)), C.shim_handle(unsafe.Pointer(h)), &families[0], &count)
	for _, f := range families[:count] {
		info.families = append(info.families, queueFamily{uint32(f.flags), uint32(f.timestamp_bits)})
	}
	info.memory = readMemoryTypes(h)
	for i, size := range info.memory.heaps {
		if info.memory.heapIsLocal(uint32(i)) && size > info.Memory {
			info.Memory = size
		}
	}
	info.Limits = Limits{
		StorageRange:   uint64(p.Limits.MaxStorageBufferRange),
		Shared:         p.Limits.MaxComputeSharedMemorySize,
		Invocations:    p.Limits.MaxComputeWorkGroupInvocations,
		GroupSize:      p.Limits.MaxComputeWorkGroupSize,
		GroupCount:     min(p.Limits.MaxComputeWorkGroupCount[0], p.Limits.MaxComputeWorkGroupCount[1], p.Limits.MaxComputeWorkGroupCount[2]),
		PushConstants:  p.Limits.MaxPushConstantsSize,
		StorageBuffers: p.Limits.MaxPerStageDescriptorStorageBuffers,
		Alignment:      max(uint64(p.Limits.MinStorageBufferOffsetAlignment), 4),
		Allocation:     1 << 30,
	}
	info.Features.Timestamps = p.Limits.TimestampPeriod > 0
	info.Limits.timestampPeriod = p.Limits.TimestampPeriod
	info.DriverVersion = fmt.Sprintf("%#x", p.DriverVersion)
	info.DriverKey = fmt.Sprintf("%08x-%08x-%08x-%s", p.VendorID, p.DeviceID, p.DriverVersion, hex.EncodeToString(p.PipelineCacheUUID[:]))
	if p.ApiVersion < apiVersion1_1 {
		info.Rejected = fmt.Sprintf("its driver offers Vulkan %s and 1.1 is needed: update the driver", info.API)
		return info, nil
	}
	atLeast := func(minor uint32) bool { return p.ApiVersion >= 1<<22|minor<<12 }
	known := C.shim_known{
		driver_properties:     cbool(atLeast(2) || extensions[extDriverProperties]),
		subgroup_size_control: cbool(atLeast(3) || extensions[extSubgroupSizeControl]),
		memory_budget:         cbool(extensions[extMemoryBudget]),
		float16_int8:          cbool(atLeast(2) || extensions[extFloat16Int8]),
		storage16:             1, // core in 1.1
	}
	var more C.shim_properties
	C.shim_properties2(library.get, C.shim_handle(unsafe.Pointer(inst)), C.shim_handle(unsafe.Pointer(h)), known, &more)
	info.UUID = hex.EncodeToString(C.GoBytes(unsafe.Pointer(&more.device_uuid[0]), 16))
	info.DriverKey += "-" + hex.EncodeToString(C.GoBytes(unsafe.Pointer(&more.driver_uuid[0]), 16))
	info.Driver = C.GoString(&more.driver_name[0])
	if s := C.GoString(&more.driver_info[0]); s != "" {
		info.DriverVersion = s
	}
	const compute, ballot, shuffle, quad = 0x20, 8, 16, 128
	info.Features.SubgroupSize = uint32(more.subgroup_size)
	if more.subgroup_stages&compute != 0 {
		info.Features.SubgroupBallot = more.subgroup_operations&ballot != 0
		info.Features.SubgroupShuffle = more.subgroup_operations&shuffle != 0
		info.Features.SubgroupQuad = more.subgroup_operations&quad != 0
	}
	info.Features.SubgroupMin, info.Features.SubgroupMax = uint32(more.min_subgroup), uint32(more.max_subgroup)
	info.Features.Int64 = more.int64 != 0
	info.Features.Float16, info.Features.Int8, info.Features.Storage16 = more.fp16 != 0, more.int8 != 0, more.storage16 != 0
	if info.Features.Float16 {
		info.Features.Matrices, info.Features.MatricesBF16 = info.matrices(inst)
		if len(info.Features.Matrices) > 0 {
			info.flexible(inst)
		}
	}
	if more.max_allocation > 0 {
		info.Limits.Allocation = uint64(more.max_allocation)
	}
	for i, size := range info.memory.heaps {
		if info.memory.heapIsLocal(uint32(i)) && size == info.Memory && more.heap_budget[i] > more.heap_usage[i] {
			info.Free = uint64(more.heap_budget[i] - more.heap_usage[i])
		}
	}
	if err := info.Limits.lower(); err != nil {
		return info, err
	}
	if strings.Contains(strings.ToLower(info.Name), nullHardwareNameOfRADVMode) {
		info.CompileOnly = true
		info.Rejected = "it is RADV's null hardware, which compiles but computes nothing (RADV_FORCE_FAMILY is set)"
	}
	if info.computeFamily() < 0 {
		info.Rejected = "it has no compute queue"
	}
	return info, nil
}

func cbool(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func version(v uint32) string { return fmt.Sprintf("%d.%d.%d", v>>22&0x7f, v>>12&0x3ff, v&0xfff) }

// computeFamily is the queue family that work is submitted to: one without
// graphics if there is one, so that a desktop stays responsive; -1 for none.
func (i *Info) computeFamily() int {
	const graphics, compute = 1, 2
	found := -1
	for n, f := range i.families {
		if f.flags&compute == 0 {
			continue
		}
		if found < 0 {
			found = n
		}
		if f.flags&graphics == 0 {
			return n
		}
	}
	return found
}

// Describe is one line that names the device for people.
func (i Info) Describe() string {
	if i.Driver == "" { // the CPU reference, where it stands among devices
		return i.Name
	}
	return fmt.Sprintf("%s (%s, %s %s, Vulkan %s)", i.Name, i.Type, i.Driver, i.DriverVersion, i.API)
}

// Select picks a device: "auto" takes the one with the most memory of the best
// type (discrete, integrated, virtual, other, software); otherwise query is an index, the
// beginning of a UUID (at least four digits) or a part of the name. It fails
// with ErrNoDevice, listing what there is, when nothing or more than one device
// fits.
func Select(infos []Info, query string) (Info, error) {
	var usable []Info
	for _, i := range infos {
		if i.Rejected == "" {
			usable = append(usable, i)
		}
	}
	if len(usable) == 0 {
		if len(infos) == 0 {
			return Info{}, fmt.Errorf("%w: the Vulkan loader found no device; %s, or use --device cpu", ErrNoDevice, installHint())
		}
		return Info{}, fmt.Errorf("%w:\n%s", ErrNoDevice, list(infos))
	}
	if query == "" || query == "auto" {
		for _, t := range []Type{Discrete, Integrated, Virtual, Other, Software} {
			var best *Info
			for n := range usable {
				if i := &usable[n]; i.Type == t && (best == nil || i.Memory > best.Memory) {
					best = i
				}
			}
			if best != nil {
				return *best, nil
			}
		}
	}
	var matches []Info
	if n, err := strconv.Atoi(query); err == nil && len(query) <= 2 {
		for _, i := range infos {
			if i.Index == n {
				matches = append(matches, i)
			}
		}
	} else {
		low := strings.ToLower(query)
		uuid := strings.ReplaceAll(low, "-", "")
		for _, i := range infos {
			if strings.Contains(strings.ToLower(i.Name), low) || len(uuid) >= 4 && strings.HasPrefix(i.UUID, uuid) {
				matches = append(matches, i)
			}
		}
	}
	switch {
	case len(matches) == 0:
		return Info{}, fmt.Errorf("%w: none matches %q; there are:\n%s", ErrNoDevice, query, list(infos))
	case len(matches) > 1:
		return Info{}, fmt.Errorf("%w: %q is ambiguous, choose by index or UUID:\n%s", ErrNoDevice, query, list(matches))
	case matches[0].Rejected != "":
		return Info{}, fmt.Errorf("%w: %s cannot be used: %s", ErrNoDevice, matches[0].Name, matches[0].Rejected)
	}
	return matches[0], nil
}

func list(infos []Info) string {
	var b strings.Builder
	for n, i := range infos {
		if n > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "  %d  %s  uuid %s", i.Index, i.Describe(), i.UUID)
		if i.Rejected != "" {
			fmt.Fprintf(&b, "  (not usable: %s)", i.Rejected)
		}
	}
	return b.String()
}

func readMemoryTypes(h vk.PhysicalDevice) memoryTypes {
	var p vk.PhysicalDeviceMemoryProperties
	vk.GetPhysicalDeviceMemoryProperties(h, &p)
	p.Deref()
	defer p.Free()
	var m memoryTypes
	for i := range p.MemoryTypeCount {
		p.MemoryTypes[i].Deref()
		m.flags = append(m.flags, p.MemoryTypes[i].PropertyFlags)
		m.heap = append(m.heap, p.MemoryTypes[i].HeapIndex)
	}
	for i := range p.MemoryHeapCount {
		p.MemoryHeaps[i].Deref()
		m.heaps = append(m.heaps, uint64(p.MemoryHeaps[i].Size))
	}
	return m
}

func (m memoryTypes) heapIsLocal(heap uint32) bool {
	for i, h := range m.heap {
		if h == heap && m.flags[i]&vk.MemoryPropertyFlags(vk.MemoryPropertyDeviceLocalBit) != 0 {
			return true
		}
	}
	return false
}
