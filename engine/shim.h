// Calls that the Go binding cannot make safely or at all.
//
// The binding builds C arrays for slices of structs and frees them from a
// finalizer that may run during the call, so every call that takes such a slice
// goes through here, with its structs on the C stack. The structs are declared
// by hand: their layouts are frozen by the Vulkan specification.
#ifndef VKALEXNET_SHIM_H
#define VKALEXNET_SHIM_H

#include <stdint.h>
#include <stddef.h>

typedef void *shim_handle; // dispatchable and, on 64-bit hosts, non-dispatchable handles

// Loading.
void *shim_open(const char *name, char *error, size_t error_len);
void *shim_symbol(void *library, const char *name);

// Instance level. get is vkGetInstanceProcAddr.
typedef struct {
	char name[256];
	uint32_t version;
} shim_extension;
int32_t shim_instance_extensions(void *get, shim_extension *out, uint32_t *count);
int32_t shim_device_extensions(void *get, shim_handle instance, shim_handle physical, shim_extension *out, uint32_t *count);

typedef struct {
	uint32_t flags, count, timestamp_bits;
} shim_queue_family;
void shim_queue_families(void *get, shim_handle instance, shim_handle physical, shim_queue_family *out, uint32_t *count);

typedef struct {
	uint8_t device_uuid[16];
	uint8_t driver_uuid[16];
	uint32_t subgroup_size, subgroup_stages, subgroup_operations;
	uint64_t max_allocation; // bytes
	uint32_t driver_id;
	char driver_name[256];
	char driver_info[256];
	uint32_t min_subgroup, max_subgroup;
	uint32_t fp16, int8, storage16, int64;
	uint64_t heap_budget[16], heap_usage[16]; // bytes, with VK_EXT_memory_budget
} shim_properties;
typedef struct {
	int driver_properties, subgroup_size_control, memory_budget, float16_int8, storage16;
} shim_known; // which extensions or core versions the physical device lists
void shim_properties2(void *get, shim_handle instance, shim_handle physical, shim_known known, shim_properties *out);

// The matrices of a component type with float32 sums that a subgroup multiplies,
// of a physical device that lists VK_KHR_cooperative_matrix: 0 where there are none.
typedef struct {
	uint32_t m, n, k;
} shim_matrix;
enum { shim_component_fp16 = 0, shim_component_bf16 = 1000141000 }; // VkComponentTypeKHR
uint32_t shim_matrices(void *get, shim_handle instance, shim_handle physical, uint32_t component, shim_matrix *out, uint32_t most);
// The matrices of many sizes of a component type with float32 sums, of a physical device that
// lists VK_NV_cooperative_matrix2: what their sizes are multiples of, and the workgroups that
// hold them, 0 where subgroups do.
typedef struct {
	uint32_t m, n, k, invocations;
} shim_flexible;
typedef struct {
	uint32_t flexible, workgroups; // features
	uint32_t invocations, size, reserved; // most that hold a matrix; its largest size; shared memory that they take, in bytes
} shim_matrix2;
shim_matrix2 shim_matrix2_of(void *get, shim_handle instance, shim_handle physical);
uint32_t shim_flexible_matrices(void *get, shim_handle instance, shim_handle physical, uint32_t component, shim_flexible *out, uint32_t most);
// Whether a physical device that lists VK_KHR_shader_bfloat16 has matrices of it.
int shim_bfloat16_matrices(void *get, shim_handle instance, shim_handle physical);

// Device level.
typedef struct shim_device shim_device;
// What to chain to a device's creation for statistics of its pipelines.
void *shim_executable_features(void);
// A VkPhysicalDeviceFeatures2 that asks for 64-bit integers, or for what kernels
// with cooperative matrices (of bf16, of many sizes, held by workgroups, too) need, to be freed;
// next is the rest of the chain.
void *shim_features(void *next, int int64, int matrices, int bfloat16, int flexible, int workgroups);
shim_device *shim_device_new(void *get, shim_handle instance, shim_handle device);
void shim_device_free(shim_device *d);

int32_t shim_compute_pipeline(shim_device *d, shim_handle cache, shim_handle module, shim_handle layout,
	uint32_t constants, const uint32_t *ids, const uint32_t *values, uint32_t required_subgroup, int full_subgroups, int statistics, shim_handle *out);
// The machine programs of a pipeline made with statistics, and what the driver's
// compiler says of one.
typedef struct {
	char name[256];
	uint32_t subgroup;
} shim_executable;
typedef struct {
	char name[256];
	double value;
} shim_statistic;
int32_t shim_executables(shim_device *d, shim_handle pipeline, shim_executable *out, uint32_t *count);
int32_t shim_statistics(shim_device *d, shim_handle pipeline, uint32_t executable, shim_statistic *out, uint32_t *count);
int32_t shim_submit(shim_device *d, shim_handle queue, shim_handle *commands, uint32_t count, shim_handle fence);
// A global memory barrier; from and to are bits: 1 compute, 2 transfer, 4 host.
void shim_barrier(shim_device *d, shim_handle commands, uint32_t from, uint32_t to);
void shim_copy(shim_device *d, shim_handle commands, shim_handle from, shim_handle to, uint64_t from_offset, uint64_t to_offset, uint64_t size);
void shim_write_buffers(shim_device *d, shim_handle set, uint32_t count, const uint32_t *bindings,
	const shim_handle *buffers, const uint64_t *offsets, const uint64_t *sizes);
int32_t shim_flush(shim_device *d, shim_handle memory, uint64_t offset, uint64_t size, int invalidate);

#endif
