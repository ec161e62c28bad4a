package engine

/*
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"io/fs"
	"strings"
	"unsafe"

	vk "github.com/vulkan-go/vulkan"
)

// PipelineStatistics is what a driver's compiler made of one kernel with its
// constants set.
type PipelineStatistics struct {
	Kernel string `json:"kernel"`
	// Constants are the specialization constants: "TILE_M=64 TILE_N=32". With
	// Kernel and Local they tell one pipeline from another.
	Constants string    `json:"constants"`
	Local     [3]uint32 `json:"local"`  // invocations of a workgroup
	Labels    []string  `json:"labels"` // of the calls that use it
	// Subgroup is the width that the kernel was compiled for; 0 where the driver
	// does not tell.
	Subgroup uint32      `json:"subgroup"`
	Values   []Statistic `json:"statistics"`
}

// Statistic is a number under the driver's own name, such as "Spilled VGPRs".
type Statistic struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Value is the statistic of a name, whose capitals differ between versions of a
// driver, and whether the driver gave it.
func (s PipelineStatistics) Value(name string) (float64, bool) {
	for _, v := range s.Values {
		if strings.EqualFold(v.Name, name) {
			return v.Value, true
		}
	}
	return 0, false
}

// HasStatistics reports whether the device's driver tells what its compiler
// makes of kernels.
func (i *Info) HasStatistics() bool { return i.extensions[extExecutableProperties] }

// OpenForStatistics opens the device for Device.Statistics, not for computing.
// Unlike Open it takes devices that only compile (Info.CompileOnly). It fails
// where the driver lacks VK_KHR_pipeline_executable_properties.
func OpenForStatistics(info Info, shaders fs.FS) (*Device, error) {
	if info.Rejected != "" && !info.CompileOnly || info.computeFamily() < 0 {
		return nil, fmt.Errorf("open %s: %w: %s", info.Name, ErrNoDevice, info.Rejected)
	}
	if !info.HasStatistics() {
		return nil, fmt.Errorf("open %s: %w: its driver lacks %s; RADV, ANV and NVIDIA's have it", info.Name, ErrNoDevice, extExecutableProperties)
	}
	return open(info, shaders, true)
}

// maxStatistics is more than any driver gives for one kernel.
const maxStatistics = 128

// Statistics compiles the kernels of a recording and returns what the driver's
// compiler says of each pipeline, in the order of their first use. It takes no
// memory on the device and computes nothing.
func (d *Device) Statistics(r *Recording) ([]PipelineStatistics, error) {
	if !d.statistics {
		return nil, fmt.Errorf("statistics of %s: the device was not opened with OpenForStatistics", d.Name)
	}
	if err := d.pipelines.prepare(d, r.calls)[0]; err != nil {
		return nil, err
	}
	var all []PipelineStatistics
	index := map[*pipeline]int{}
	for i := range r.calls {
		c := &r.calls[i]
		if c.kernel == nil {
			continue
		}
		p, err := d.pipelines.get(d, c)
		if err != nil {
			return nil, err
		}
		n, seen := index[p]
		if !seen {
			s := PipelineStatistics{Kernel: c.kernel.name, Constants: p.link.constantsOf(c), Local: p.local}
			if err := d.readStatistics(p, &s); err != nil {
				return nil, err
			}
			n = len(all)
			index[p] = n
			all = append(all, s)
		}
		if labels := all[n].Labels; len(labels) == 0 || labels[len(labels)-1] != c.label {
			all[n].Labels = append(labels, c.label)
		}
	}
	return all, nil
}

func (l *link) constantsOf(c *call) string {
	var text []string
	for i, slot := range l.constants {
		text = append(text, fmt.Sprintf("%s=%d", slot.name, c.numbers[l.constField[i]]))
	}
	return strings.Join(text, " ")
}

func (d *Device) readStatistics(p *pipeline, s *PipelineStatistics) error {
	var programs [4]C.shim_executable // a compute pipeline has one
	handle, n := C.shim_handle(unsafe.Pointer(p.handle)), C.uint32_t(len(programs))
	if err := d.sink(vk.Result(C.shim_executables(d.shim, handle, &programs[0], &n)), "vkGetPipelineExecutablePropertiesKHR", "%s", s.Kernel); err != nil {
		return err
	}
	for i := range n {
		s.Subgroup = max(s.Subgroup, uint32(programs[i].subgroup))
		var values [maxStatistics]C.shim_statistic
		count := C.uint32_t(len(values))
		if err := d.sink(vk.Result(C.shim_statistics(d.shim, handle, i, &values[0], &count)), "vkGetPipelineExecutableStatisticsKHR", "%s", s.Kernel); err != nil {
			return err
		}
		for _, v := range values[:count] {
			s.Values = append(s.Values, Statistic{C.GoString(&v.name[0]), float64(v.value)})
		}
	}
	return nil
}
