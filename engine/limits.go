package engine

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Limits are what a device allows. Sizes are in bytes.
type Limits struct {
	StorageRange uint64 `json:"max_storage_buffer_range"`
	Allocation   uint64 `json:"max_memory_allocation"`
	Shared       uint32 `json:"max_compute_shared_memory"`
	Invocations  uint32 `json:"max_compute_workgroup_invocations"`
	// MatrixShared is what matrices that a workgroup holds take of Shared.
	MatrixShared uint32 `json:"matrix_shared_memory,omitempty"`
	// MatrixSize is the most rows or columns of a matrix among Features.Flexible.
	MatrixSize uint32 `json:"max_matrix_size,omitempty"`

	GroupSize      [3]uint32 `json:"max_compute_workgroup_size"`
	GroupCount     uint32    `json:"max_compute_workgroup_count"`
	PushConstants  uint32    `json:"max_push_constants"`
	StorageBuffers uint32    `json:"max_storage_buffers_per_stage"`
	Alignment      uint64    `json:"min_storage_buffer_offset_alignment"`

	timestampPeriod float32 // nanoseconds per tick
}

// LimitsVariable is the environment variable that lowers limits, to try on one
// device what a smaller one would do: "storage_range=1048576,shared=16384".
const LimitsVariable = "VKALEXNET_LIMITS"

// ErrLimits is a LimitsVariable that cannot be meant.
var ErrLimits = errors.New("environment: " + LimitsVariable)

// lower applies LimitsVariable. A limit can only be lowered.
func (l *Limits) lower() error {
	text := os.Getenv(LimitsVariable)
	if text == "" {
		return nil
	}
	for _, pair := range strings.Split(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		n, err := strconv.ParseUint(value, 10, 63)
		if !ok || err != nil || n == 0 {
			return fmt.Errorf("%w: %q is not name=number", ErrLimits, pair)
		}
		small := uint32(min(n, 1<<32-1))
		switch name {
		case "storage_range":
			l.StorageRange = min(l.StorageRange, n)
		case "allocation":
			l.Allocation = min(l.Allocation, n)
		case "shared":
			l.Shared = min(l.Shared, small)
		case "invocations":
			l.Invocations = min(l.Invocations, small)
		case "group_count":
			l.GroupCount = min(l.GroupCount, small)
		case "storage_buffers":
			l.StorageBuffers = min(l.StorageBuffers, small)
		default:
			return fmt.Errorf("%w: %q is not one of storage_range, allocation, shared, invocations, group_count, storage_buffers", ErrLimits, name)
		}
	}
	return nil
}
