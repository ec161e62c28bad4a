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

// opening is a device that is being opened in the background.
type opening struct {
	query  string
	done   chan struct{}
	info   *engine.Info // once it is chosen
	device *engine.Device
	err    error
}

// openAhead begins to open the device that query chooses, while other things are
// done: it takes a driver some tenths of a second.
func openAhead(query string) *opening {
	o := &opening{query: query, done: make(chan struct{})}
	go func() {
		defer close(o.done)
		if query == cpuDevice {
			return
		}
		infos, err := engine.Devices()
		if err != nil {
			o.err = err
			return
		}
		info, err := engine.Select(infos, query)
		if err != nil {
			o.err = err
			return
		}
		o.info = &info
		o.device, o.err = engine.Open(info, shaders.FS)
	}()
	return o
}

// openTarget opens the device that query chooses and says which one it is.
func openTarget(cmd *cobra.Command, query string) (*target, error) {
	return openAhead(query).target(cmd)
}

// target waits for the device and says which one it is.
func (o *opening) target(cmd *cobra.Command) (*target, error) {
	<-o.done
	if o.query == cpuDevice {
		warn(cmd, "device: CPU reference (plain loops; --device auto uses Vulkan)")
		return &target{name: cpuDevice}, nil
	}
	if o.info != nil {
		if o.info.Type == engine.Software && o.query == "auto" {
			warn(cmd, "WARNING: no GPU with a Vulkan driver found. Computing on the CPU through the software driver %s: slow.\n"+
				"         'vkalexnet devices' lists what there is; --device %q chooses it without this warning.", o.info.Name, o.info.Name)
		}
		warn(cmd, "device: %s", o.info.Describe())
	}
	if o.err != nil {
		return nil, o.err
	}
	return &target{name: o.info.Name, device: o.device}, nil
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
