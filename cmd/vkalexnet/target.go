package main

import (
	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/shaders"
)

// cpuDevice is the --device that computes with the CPU reference, without Vulkan.
const cpuDevice = "cpu"

// target is what --device chose: an open device, or the CPU reference.
type target struct {
	name   string
	device *engine.Device // nil for the CPU reference
}

// openTarget opens the device that query chooses and says which one it is.
func openTarget(cmd *cobra.Command, query string) (*target, error) {
	if query == cpuDevice {
		warn(cmd, "device: CPU reference (plain loops; --device auto uses Vulkan)")
		return &target{name: cpuDevice}, nil
	}
	infos, err := engine.Devices()
	if err != nil {
		return nil, err
	}
	info, err := engine.Select(infos, query)
	if err != nil {
		return nil, err
	}
	if info.Type == engine.Software && query == "auto" {
		warn(cmd, "WARNING: no GPU with a Vulkan driver found. Computing on the CPU through the software driver %s: slow.\n"+
			"         'vkalexnet devices' lists what there is; --device %q chooses it without this warning.", info.Name, info.Name)
	}
	warn(cmd, "device: %s", info.Describe())
	device, err := engine.Open(info, shaders.FS)
	if err != nil {
		return nil, err
	}
	return &target{name: info.Name, device: device}, nil
}

// openModel finds a network and opens the device that it shall run on, without
// parameters; the precision is what --precision means there.
func openModel(cmd *cobra.Command, model, device, precision string) (*alexnet.Network, *target, layers.Precision, error) {
	net, err := loadModel(model)
	if err != nil {
		return nil, nil, layers.FP32, err
	}
	t, err := openTarget(cmd, device)
	if err != nil {
		return nil, nil, layers.FP32, err
	}
	stored, err := precisionOn(cmd, precision, t.device)
	if err != nil {
		t.close()
		return nil, nil, layers.FP32, err
	}
	return net, t, stored, nil
}

// executor puts a network on the target, for batches of up to `batch` pictures.
// Where the options choose no tunings, those that were stored for the device serve.
func (t *target) executor(net *alexnet.Network, batch int, options alexnet.ExecOptions) (alexnet.Executor, error) {
	if t.device == nil {
		return alexnet.NewReference(net, batch, options)
	}
	if options.Choices == nil {
		options.Choices = alexnet.ReadChoices(&t.device.Info)
	}
	return alexnet.NewDevice(t.device, net, batch, options)
}

func (t *target) close() {
	if t.device != nil {
		t.device.Close()
	}
}
