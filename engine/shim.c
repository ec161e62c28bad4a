#include "shim.h"
#include <stdlib.h>
#include <string.h>
#include <stdio.h>

#ifdef _WIN32
#include <windows.h>
void *shim_open(const char *name, char *error, size_t error_len) {
	HMODULE h = LoadLibraryA(name);
	if (!h) snprintf(error, error_len, "LoadLibrary error %lu", (unsigned long)GetLastError());
	return (void *)h;
}
void *shim_symbol(void *library, const char *name) { return (void *)GetProcAddress((HMODULE)library, name); }
#define VKAPI __stdcall
#else
#include <dlfcn.h>
void *shim_open(const char *name, char *error, size_t error_len) {
	void *h = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (!h) {
		const char *e = dlerror();
		snprintf(error, error_len, "%s", e ? e : "unknown error");
	}
	return h;
}
void *shim_symbol(void *library, const char *name) { return dlsym(library, name); }
#define VKAPI
#endif

typedef void(VKAPI *fn_void)(void);
typedef fn_void(VKAPI *fn_get_proc)(shim_handle, const char *);

static fn_void load(void *get, shim_handle object, const char *name) { return ((fn_get_proc)get)(object, name); }

// ---- instance level ----

typedef struct { char name[256]; uint32_t version; } VkExtensionProperties_;

static int32_t copy_extensions(VkExtensionProperties_ *e, uint32_t n, shim_extension *out, uint32_t *count) {
	if (out) {
		if (n > *count) n = *count;
		for (uint32_t i = 0; i < n; i++) {
			memcpy(out[i].name, e[i].name, 256);
			out[i].version = e[i].version;
		}
	}
	*count = n;
	free(e);
	return 0;
}

int32_t shim_instance_extensions(void *get, shim_extension *out, uint32_t *count) {
	int32_t(VKAPI * f)(const char *, uint32_t *, VkExtensionProperties_ *) = (void *)load(get, NULL, "vkEnumerateInstanceExtensionProperties");
	if (!f) { *count = 0; return 0; }
	uint32_t n = 0;
	int32_t r = f(NULL, &n, NULL);
	if (r < 0) return r;
	VkExtensionProperties_ *e = calloc(n + 1, sizeof *e);
	r = f(NULL, &n, e);
	if (r < 0) { free(e); return r; }
	return copy_extensions(e, n, out, count);
}

int32_t shim_device_extensions(void *get, shim_handle instance, shim_handle physical, shim_extension *out, uint32_t *count) {
	int32_t(VKAPI * f)(shim_handle, const char *, uint32_t *, VkExtensionProperties_ *) =
		(void *)load(get, instance, "vkEnumerateDeviceExtensionProperties");
	if (!f) { *count = 0; return 0; }
	uint32_t n = 0;
	int32_t r = f(physical, NULL, &n, NULL);
	if (r < 0) return r;
	VkExtensionProperties_ *e = calloc(n + 1, sizeof *e);
	r = f(physical, NULL, &n, e);
	if (r < 0) { free(e); return r; }
	return copy_extensions(e, n, out, count);
}

typedef struct { uint32_t flags, count, bits, w, h, d; } VkQueueFamilyProperties_;

void shim_queue_families(void *get, shim_handle instance, shim_handle physical, shim_queue_family *out, uint32_t *count) {
	void(VKAPI * f)(shim_handle, uint32_t *, VkQueueFamilyProperties_ *) = (void *)load(get, instance, "vkGetPhysicalDeviceQueueFamilyProperties");
	uint32_t n = 0;
	f(physical, &n, NULL);
	VkQueueFamilyProperties_ *q = calloc(n + 1, sizeof *q);
	f(physical, &n, q);
	if (n > *count) n = *count;
	for (uint32_t i = 0; i < n; i++) {
		out[i].flags = q[i].flags;
		out[i].count = q[i].count;
		out[i].timestamp_bits = q[i].bits;
	}
	*count = n;
	free(q);
}

typedef struct { uint32_t type; void *next; } base;
// VkPhysicalDeviceProperties is 824 bytes on 64-bit hosts; room is left for any host.
typedef struct { uint32_t type; void *next; uint64_t properties[128]; } properties2;
typedef struct { uint32_t type; void *next; uint8_t device[16], driver[16], luid[8]; uint32_t mask, valid; } id_properties;
typedef struct { uint32_t type; void *next; uint32_t size, stages, operations, quad; } subgroup_properties;
typedef struct { uint32_t type; void *next; uint32_t sets; uint64_t allocation; } maintenance3;
typedef struct { uint32_t type; void *next; uint32_t id; char name[256], info[256]; uint8_t conformance[4]; } driver_properties;
typedef struct { uint32_t type; void *next; uint32_t min, max, subgroups, stages; } size_control;
typedef struct { uint32_t type; void *next; uint64_t properties[66]; } memory2; // VkPhysicalDeviceMemoryProperties: 520 bytes
typedef struct { uint32_t type; void *next; uint64_t budget[16], usage[16]; } memory_budget;
typedef struct { uint32_t type; void *next; uint32_t features[55]; } features2;
enum { feature_int64 = 40 }; // shaderInt64's place among the 55
typedef struct { uint32_t type; void *next; uint32_t fp16, int8; } float16_int8;
typedef struct { uint32_t type; void *next; uint32_t buffer, uniform, push, io; } storage16;

void shim_properties2(void *get, shim_handle instance, shim_handle physical, shim_known known, shim_properties *out) {
	memset(out, 0, sizeof *out);
	void(VKAPI * props)(shim_handle, void *) = (void *)load(get, instance, "vkGetPhysicalDeviceProperties2");
	void(VKAPI * memory)(shim_handle, void *) = (void *)load(get, instance, "vkGetPhysicalDeviceMemoryProperties2");
	void(VKAPI * feats)(shim_handle, void *) = (void *)load(get, instance, "vkGetPhysicalDeviceFeatures2");
	if (!props || !memory || !feats) return;
	driver_properties driver = {1000196000, NULL};
	size_control control = {1000225000, NULL};
	maintenance3 m3 = {1000168000, NULL};
	subgroup_properties subgroup = {1000094000, &m3};
	id_properties id = {1000071004, &subgroup};
	properties2 p = {1000059001, &id};
	void **tail = &m3.next;
	if (known.driver_properties) { *tail = &driver; tail = &driver.next; }
	if (known.subgroup_size_control) { *tail = &control; tail = &control.next; }
	props(physical, &p);
	memcpy(out->device_uuid, id.device, 16);
	memcpy(out->driver_uuid, id.driver, 16);
	out->subgroup_size = subgroup.size;
	out->subgroup_stages = subgroup.stages;
	out->subgroup_operations = subgroup.operations;
	out->max_allocation = m3.allocation;
	out->driver_id = driver.id;
	memcpy(out->driver_name, driver.name, 256);
	memcpy(out->driver_info, driver.info, 256);
	out->min_subgroup = control.min;
	out->max_subgroup = control.max;
	if (known.memory_budget) {
		memory_budget budget = {1000237000, NULL};
		memory2 m = {1000059006, &budget};
		memory(physical, &m);
		memcpy(out->heap_budget, budget.budget, sizeof out->heap_budget);
		memcpy(out->heap_usage, budget.usage, sizeof out->heap_usage);
	}
	float16_int8 fi = {1000082000, NULL};
	storage16 s16 = {1000083000, NULL};
	features2 f = {1000059000, NULL};
	tail = &f.next;
	if (known.float16_int8) { *tail = &fi; tail = &fi.next; }
	if (known.storage16) { *tail = &s16; tail = &s16.next; }
	feats(physical, &f);
	out->fp16 = fi.fp16;
	out->int8 = fi.int8;
	out->storage16 = s16.buffer;
	out->int64 = f.features[feature_int64];
}

typedef struct { uint32_t type; void *next; uint32_t m, n, k, a, b, c, result, saturating, scope; } VkCooperativeMatrixProperties_;

uint32_t shim_matrices(void *get, shim_handle instance, shim_handle physical, uint32_t component, shim_matrix *out, uint32_t most) {
	int32_t(VKAPI * f)(shim_handle, uint32_t *, VkCooperativeMatrixProperties_ *) = (void *)load(get, instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
	uint32_t n = 0, found = 0;
	if (!f || f(physical, &n, NULL) < 0 || n == 0) return 0;
	VkCooperativeMatrixProperties_ *p = calloc(n, sizeof *p);
	if (!p) return 0;
	for (uint32_t i = 0; i < n; i++) p[i].type = 1000506001;
	if (f(physical, &n, p) >= 0) {
		for (uint32_t i = 0; i < n && found < most; i++) {
			// VK_COMPONENT_TYPE_FLOAT32_KHR is 1, VK_SCOPE_SUBGROUP_KHR 3.
			if (p[i].a == component && p[i].b == component && p[i].c == 1 && p[i].result == 1 && p[i].scope == 3) out[found++] = (shim_matrix){p[i].m, p[i].n, p[i].k};
		}
	}
	free(p);
	return found;
}

typedef struct { uint32_t type; void *next; uint32_t workgroups, flexible, reductions, conversions, per_element, tensors, block_loads; } matrix2_features;
typedef struct { uint32_t type; void *next; uint32_t invocations, size, reserved; } matrix2_properties;
typedef struct { uint32_t type; void *next; uint32_t m, n, k, a, b, c, result, saturating, scope, invocations; } VkCooperativeMatrixFlexibleDimensionsProperties_;

shim_matrix2 shim_matrix2_of(void *get, shim_handle instance, shim_handle physical) {
	shim_matrix2 found = {0};
	void(VKAPI * props)(shim_handle, void *) = (void *)load(get, instance, "vkGetPhysicalDeviceProperties2");
	void(VKAPI * feats)(shim_handle, void *) = (void *)load(get, instance, "vkGetPhysicalDeviceFeatures2");
	if (!props || !feats) return found;
	matrix2_features m = {1000593000, NULL};
	features2 f = {1000059000, &m};
	feats(physical, &f);
	matrix2_properties mp = {1000593002, NULL};
	properties2 p = {1000059001, &mp};
	props(physical, &p);
	return (shim_matrix2){m.flexible, m.workgroups, mp.invocations, mp.size, mp.reserved};
}

uint32_t shim_flexible_matrices(void *get, shim_handle instance, shim_handle physical, uint32_t component, shim_flexible *out, uint32_t most) {
	int32_t(VKAPI * f)(shim_handle, uint32_t *, VkCooperativeMatrixFlexibleDimensionsProperties_ *) =
		(void *)load(get, instance, "vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV");
	uint32_t n = 0, found = 0;
	if (!f || f(physical, &n, NULL) < 0 || n == 0) return 0;
	VkCooperativeMatrixFlexibleDimensionsProperties_ *p = calloc(n, sizeof *p);
	if (!p) return 0;
	for (uint32_t i = 0; i < n; i++) p[i].type = 1000593001;
	if (f(physical, &n, p) >= 0) {
		for (uint32_t i = 0; i < n && found < most; i++) {
			// VK_COMPONENT_TYPE_FLOAT32_KHR is 1, VK_SCOPE_WORKGROUP_KHR 2, VK_SCOPE_SUBGROUP_KHR 3.
			if (p[i].a != component || p[i].b != component || p[i].c != 1 || p[i].result != 1 || p[i].saturating) continue;
			if (p[i].scope == 2 || p[i].scope == 3) out[found++] = (shim_flexible){p[i].m, p[i].n, p[i].k, p[i].scope == 2 ? p[i].invocations : 0};
		}
	}
	free(p);
	return found;
}

typedef struct { uint32_t type; void *next; uint32_t scalar, dot, matrix; } bfloat16_features;

int shim_bfloat16_matrices(void *get, shim_handle instance, shim_handle physical) {
	void(VKAPI * feats)(shim_handle, void *) = (void *)load(get, instance, "vkGetPhysicalDeviceFeatures2");
	if (!feats) return 0;
	bfloat16_features b = {1000141000, NULL};
	features2 f = {1000059000, &b};
	feats(physical, &f);
	return b.scalar && b.matrix;
}

// ---- device level ----

typedef struct { uint32_t id, offset; size_t size; } VkSpecializationMapEntry_;
typedef struct { uint32_t entries; const VkSpecializationMapEntry_ *map; size_t size; const void *data; } VkSpecializationInfo_;
typedef struct { uint32_t type; const void *next; uint32_t flags, stage; shim_handle module; const char *name; const VkSpecializationInfo_ *special; } VkPipelineShaderStageCreateInfo_;
typedef struct { uint32_t type; const void *next; uint32_t flags; VkPipelineShaderStageCreateInfo_ stage; shim_handle layout, base; int32_t base_index; } VkComputePipelineCreateInfo_;
typedef struct { uint32_t type; void *next; uint32_t size; } VkRequiredSubgroupSize_;
typedef struct { uint32_t type; const void *next; uint32_t waits; const void *wait; const void *wait_stages; uint32_t count; const shim_handle *commands; uint32_t signals; const void *signal; } VkSubmitInfo_;
typedef struct { uint32_t type; const void *next; uint32_t from, to; } VkMemoryBarrier_;
typedef struct { uint64_t from, to, size; } VkBufferCopy_;
typedef struct { shim_handle buffer; uint64_t offset, range; } VkDescriptorBufferInfo_;
typedef struct { uint32_t type; const void *next; shim_handle set; uint32_t binding, element, count, kind; const void *image; const VkDescriptorBufferInfo_ *buffer; const void *texel; } VkWriteDescriptorSet_;
typedef struct { uint32_t type; const void *next; shim_handle memory; uint64_t offset, size; } VkMappedMemoryRange_;

typedef struct { uint32_t type; void *next; uint32_t enabled; } VkExecutableFeatures_;
typedef struct { uint32_t type; const void *next; shim_handle pipeline; } VkPipelineInfo_;
typedef struct { uint32_t type; void *next; uint32_t stages; char name[256], description[256]; uint32_t subgroup; } VkPipelineExecutableProperties_;
typedef struct { uint32_t type; const void *next; shim_handle pipeline; uint32_t index; } VkPipelineExecutableInfo_;
typedef struct { uint32_t type; void *next; char name[256], description[256]; uint32_t format; union { uint32_t b; int64_t i; uint64_t u; double f; } value; } VkPipelineExecutableStatistic_;

struct shim_device {
	shim_handle device;
	int32_t(VKAPI *create_pipelines)(shim_handle, shim_handle, uint32_t, const VkComputePipelineCreateInfo_ *, const void *, shim_handle *);
	int32_t(VKAPI *submit)(shim_handle, uint32_t, const VkSubmitInfo_ *, shim_handle);
	void(VKAPI *barrier)(shim_handle, uint32_t, uint32_t, uint32_t, uint32_t, const VkMemoryBarrier_ *, uint32_t, const void *, uint32_t, const void *);
	void(VKAPI *copy)(shim_handle, shim_handle, shim_handle, uint32_t, const VkBufferCopy_ *);
	void(VKAPI *update)(shim_handle, uint32_t, const VkWriteDescriptorSet_ *, uint32_t, const void *);
	int32_t(VKAPI *flush)(shim_handle, uint32_t, const VkMappedMemoryRange_ *);
	int32_t(VKAPI *invalidate)(shim_handle, uint32_t, const VkMappedMemoryRange_ *);
	// NULL unless the device was made for statistics.
	int32_t(VKAPI *executables)(shim_handle, const VkPipelineInfo_ *, uint32_t *, VkPipelineExecutableProperties_ *);
	int32_t(VKAPI *statistics)(shim_handle, const VkPipelineExecutableInfo_ *, uint32_t *, VkPipelineExecutableStatistic_ *);
};

void *shim_executable_features(void) {
	static VkExecutableFeatures_ features = {1000269000, NULL, 1};
	return &features;
}

typedef struct { uint32_t type; void *next; uint32_t matrix, robust; } matrix_features;
typedef struct { uint32_t type; void *next; uint32_t model, device_scope, chains; } memory_model_features;
typedef struct { uint32_t type; void *next; uint32_t control, full; } size_control_features;

void *shim_features(void *next, int int64, int matrices, int bfloat16, int flexible, int workgroups) {
	struct {
		features2 f;
		matrix_features matrix;
		memory_model_features model;
		float16_int8 half;
		size_control_features size;
		bfloat16_features bfloat16;
		matrix2_features matrix2;
	} *w = calloc(1, sizeof *w);
	if (!w) return NULL;
	w->f = (features2){1000059000, next};
	w->f.features[feature_int64] = int64 != 0;
	if (matrices) {
		w->size = (size_control_features){1000225002, next, 1, 1};
		w->half = (float16_int8){1000082000, &w->size, 1, 0};
		w->model = (memory_model_features){1000211000, &w->half, 1, 0, 0};
		w->matrix = (matrix_features){1000506000, &w->model, 1, 0};
		w->f.next = &w->matrix;
		if (bfloat16) {
			w->bfloat16 = (bfloat16_features){1000141000, w->f.next, 1, 0, 1};
			w->f.next = &w->bfloat16;
		}
		if (flexible) {
			w->matrix2 = (matrix2_features){1000593000, w->f.next, workgroups != 0, 1};
			w->f.next = &w->matrix2;
		}
	}
	return w;
}

shim_device *shim_device_new(void *get, shim_handle instance, shim_handle device) {
	void *get_device = (void *)load(get, instance, "vkGetDeviceProcAddr");
	if (!get_device) return NULL;
	shim_device *d = calloc(1, sizeof *d);
	d->device = device;
	d->create_pipelines = (void *)load(get_device, device, "vkCreateComputePipelines");
	d->submit = (void *)load(get_device, device, "vkQueueSubmit");
	d->barrier = (void *)load(get_device, device, "vkCmdPipelineBarrier");
	d->copy = (void *)load(get_device, device, "vkCmdCopyBuffer");
	d->update = (void *)load(get_device, device, "vkUpdateDescriptorSets");
	d->flush = (void *)load(get_device, device, "vkFlushMappedMemoryRanges");
	d->invalidate = (void *)load(get_device, device, "vkInvalidateMappedMemoryRanges");
	d->executables = (void *)load(get_device, device, "vkGetPipelineExecutablePropertiesKHR");
	d->statistics = (void *)load(get_device, device, "vkGetPipelineExecutableStatisticsKHR");
	if (!d->create_pipelines || !d->submit || !d->barrier || !d->copy || !d->update || !d->flush || !d->invalidate) {
		free(d);
		return NULL;
	}
	return d;
}

void shim_device_free(shim_device *d) { free(d); }

int32_t shim_compute_pipeline(shim_device *d, shim_handle cache, shim_handle module, shim_handle layout,
	uint32_t constants, const uint32_t *ids, const uint32_t *values, uint32_t required_subgroup, int full_subgroups, int statistics, shim_handle *out) {
	VkSpecializationMapEntry_ map[64];
	if (constants > 64) return -13; // VK_ERROR_UNKNOWN: more constants than any kernel has
	for (uint32_t i = 0; i < constants; i++) {
		map[i].id = ids[i];
		map[i].offset = 4 * i;
		map[i].size = 4;
	}
	VkSpecializationInfo_ special = {constants, map, 4 * (size_t)constants, values};
	VkRequiredSubgroupSize_ required = {1000225001, NULL, required_subgroup};
	VkComputePipelineCreateInfo_ info = {29, NULL, statistics ? 0x40 : 0, {18, required_subgroup ? &required : NULL, full_subgroups ? 2 : 0, 0x20, module, "main", &special}, layout, NULL, -1};
	return d->create_pipelines(d->device, cache, 1, &info, NULL, out);
}

int32_t shim_executables(shim_device *d, shim_handle pipeline, shim_executable *out, uint32_t *count) {
	if (!d->executables) return -7; // VK_ERROR_EXTENSION_NOT_PRESENT
	VkPipelineInfo_ info = {1000269001, NULL, pipeline};
	uint32_t n = 0;
	int32_t r = d->executables(d->device, &info, &n, NULL);
	if (r < 0) return r;
	VkPipelineExecutableProperties_ *e = calloc(n + 1, sizeof *e);
	for (uint32_t i = 0; i < n; i++) e[i].type = 1000269002;
	r = d->executables(d->device, &info, &n, e);
	if (n > *count) n = *count;
	for (uint32_t i = 0; i < n && r >= 0; i++) {
		memcpy(out[i].name, e[i].name, 256);
		out[i].subgroup = e[i].subgroup;
	}
	*count = n;
	free(e);
	return r;
}

int32_t shim_statistics(shim_device *d, shim_handle pipeline, uint32_t executable, shim_statistic *out, uint32_t *count) {
	if (!d->statistics) return -7; // VK_ERROR_EXTENSION_NOT_PRESENT
	VkPipelineExecutableInfo_ info = {1000269003, NULL, pipeline, executable};
	uint32_t n = 0;
	int32_t r = d->statistics(d->device, &info, &n, NULL);
	if (r < 0) return r;
	VkPipelineExecutableStatistic_ *s = calloc(n + 1, sizeof *s);
	for (uint32_t i = 0; i < n; i++) s[i].type = 1000269004;
	r = d->statistics(d->device, &info, &n, s);
	if (n > *count) n = *count;
	for (uint32_t i = 0; i < n && r >= 0; i++) {
		memcpy(out[i].name, s[i].name, 256);
		switch (s[i].format) {
		case 0: out[i].value = s[i].value.b; break;
		case 1: out[i].value = (double)s[i].value.i; break;
		case 2: out[i].value = (double)s[i].value.u; break;
		default: out[i].value = s[i].value.f;
		}
	}
	*count = n;
	free(s);
	return r;
}

int32_t shim_submit(shim_device *d, shim_handle queue, shim_handle *commands, uint32_t count, shim_handle fence) {
	VkSubmitInfo_ info = {4, NULL, 0, NULL, NULL, count, commands, 0, NULL};
	return d->submit(queue, 1, &info, fence);
}

static const uint32_t stage_bits[3] = {0x800, 0x1000, 0x4000};               // compute, transfer, host
static const uint32_t access_bits[3] = {0x20 | 0x40, 0x800 | 0x1000, 0x2000 | 0x4000}; // shader, transfer, host: read and write

void shim_barrier(shim_device *d, shim_handle commands, uint32_t from, uint32_t to) {
	uint32_t src = 0, dst = 0;
	VkMemoryBarrier_ b = {46, NULL, 0, 0};
	for (int i = 0; i < 3; i++) {
		if (from >> i & 1) { src |= stage_bits[i]; b.from |= access_bits[i]; }
		if (to >> i & 1) { dst |= stage_bits[i]; b.to |= access_bits[i]; }
	}
	d->barrier(commands, src, dst, 0, 1, &b, 0, NULL, 0, NULL);
}

void shim_copy(shim_device *d, shim_handle commands, shim_handle from, shim_handle to, uint64_t from_offset, uint64_t to_offset, uint64_t size) {
	VkBufferCopy_ c = {from_offset, to_offset, size};
	d->copy(commands, from, to, 1, &c);
}

void shim_write_buffers(shim_device *d, shim_handle set, uint32_t count, const uint32_t *bindings,
	const shim_handle *buffers, const uint64_t *offsets, const uint64_t *sizes) {
	VkDescriptorBufferInfo_ info[32];
	VkWriteDescriptorSet_ write[32];
	for (uint32_t i = 0; i < count && i < 32; i++) {
		info[i] = (VkDescriptorBufferInfo_){buffers[i], offsets[i], sizes[i]};
		write[i] = (VkWriteDescriptorSet_){35, NULL, set, bindings[i], 0, 1, 7, NULL, &info[i], NULL};
	}
	d->update(d->device, count, write, 0, NULL);
}

int32_t shim_flush(shim_device *d, shim_handle memory, uint64_t offset, uint64_t size, int invalidate) {
	VkMappedMemoryRange_ range = {6, NULL, memory, offset, size};
	return (invalidate ? d->invalidate : d->flush)(d->device, 1, &range);
}
