package engine

/*
#include "shim.h"
*/
import "C"

import (
	"unsafe"

	vk "github.com/vulkan-go/vulkan"
)

// The stages of the shim's barriers.
const (
	stageCompute  = 1
	stageTransfer = 2
	stageHost     = 4
	stageAll      = stageCompute | stageTransfer | stageHost
)

// newCommands gives a command buffer that is being recorded.
func (d *Device) newCommands() (vk.CommandBuffer, error) {
	info := &vk.CommandBufferAllocateInfo{
		SType:              vk.StructureTypeCommandBufferAllocateInfo,
		CommandPool:        d.pool,
		Level:              vk.CommandBufferLevelPrimary,
		CommandBufferCount: 1,
	}
	commands := make([]vk.CommandBuffer, 1)
	result := vk.AllocateCommandBuffers(d.handle, info, commands)
	info.Free()
	if err := d.sink(result, "vkAllocateCommandBuffers", ""); err != nil {
		return nil, err
	}
	begin := &vk.CommandBufferBeginInfo{SType: vk.StructureTypeCommandBufferBeginInfo}
	result = vk.BeginCommandBuffer(commands[0], begin)
	begin.Free()
	if err := d.sink(result, "vkBeginCommandBuffer", ""); err != nil {
		d.freeCommands(commands[0])
		return nil, err
	}
	return commands[0], nil
}

func (d *Device) freeCommands(c vk.CommandBuffer) {
	vk.FreeCommandBuffers(d.handle, d.pool, 1, []vk.CommandBuffer{c})
}

func (d *Device) newFence() (vk.Fence, error) {
	info := &vk.FenceCreateInfo{SType: vk.StructureTypeFenceCreateInfo}
	var fence vk.Fence
	result := vk.CreateFence(d.handle, info, nil, &fence)
	info.Free()
	return fence, d.sink(result, "vkCreateFence", "")
}

func (d *Device) submitCommands(commands []vk.CommandBuffer, fence vk.Fence) error {
	if err := d.alive(); err != nil {
		return err
	}
	return d.sink(vk.Result(C.shim_submit(d.shim, C.shim_handle(unsafe.Pointer(d.queue)),
		(*C.shim_handle)(unsafe.Pointer(&commands[0])), C.uint32_t(len(commands)), C.shim_handle(unsafe.Pointer(fence)))), "vkQueueSubmit", "%s", d.Name)
}

// waitFence waits as long as it takes: a device that hangs is reset by its
// driver, which ends the wait with ErrDeviceLost.
func (d *Device) waitFence(fence vk.Fence) error {
	const second = uint64(1e9)
	for {
		result := vk.WaitForFences(d.handle, 1, []vk.Fence{fence}, vk.True, 10*second)
		if result != vk.Timeout {
			return d.sink(result, "vkWaitForFences", "%s", d.Name)
		}
	}
}
