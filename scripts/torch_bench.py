#!/usr/bin/env python3
"""The same networks, batches and steps in PyTorch, timed as `vkalexnet bench` does.

    scripts/torch_bench.py --model alexnet,alexnet-owt --batch 128,256 --out torch.json
    vkalexnet bench compare result.json torch.json

Prints what `vkalexnet bench -o json` prints (bench/report.go), so that `bench
compare` and `bench report` read it. alexnet is Caffe's (227, groups, LRN with k = 1:
alexnet/presets/alexnet.toml), alexnet-owt torchvision's (224). Pictures are on the
device before the clock starts; infer is a forward pass, train a whole step: forward,
loss, backward, SGD with momentum 0.9 and weight decay, gradients to zero. cuDNN times
its algorithms first (cudnn.benchmark). A GPU is kept busy before the first test, and
every test is warmed up by time, as its clock rises under load.

What is compared first runs first, for when --budget ends the run: float32 with TF32 off
and mixed precision of every network and batch, then TF32, then torch.compile (--how
compile, off by default). A variant that fails is a row that says why. Needs PyTorch 1.13
or later and nothing else.
"""

import argparse
import contextlib
import functools
import gc
import itertools
import json
import os
import platform
import statistics
import sys
import time

import torch
from torch import nn

FP32, TF32, FP16, BF16 = "fp32", "tf32", "amp fp16", "amp bf16"
EAGER, GRAPH, COMPILE = "eager", "graph", "compile"


def alexnet():
    """Caffe's bvlc_alexnet."""
    # PyTorch divides alpha by size as Caffe does.
    def norm():
        return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)

    def pool():
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        nn.Conv2d(3, 96, 11, stride=4), nn.ReLU(inplace=True), norm(), pool(),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(inplace=True), norm(), pool(),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(inplace=True), pool(),
        nn.Flatten(),
        nn.Linear(9216, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Linear(4096, 1000),
    )


def alexnet_owt():
    """torchvision's alexnet."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(9216, 4096), nn.ReLU(inplace=True),
        nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(inplace=True),
        nn.Linear(4096, 1000),
    )


# name: (network, side of its input, weight decay)
MODELS = {"alexnet": (alexnet, 227, 5e-4), "alexnet-owt": (alexnet_owt, 224, 1e-4)}
PARAMETERS = {"alexnet": 60_965_224, "alexnet-owt": 61_100_840}


@functools.cache
def macs(model):
    """Multiply-adds of the convolutions and linear layers for one picture, and of the first layer alone."""
    make, side, _ = MODELS[model]
    net, x = make(), torch.zeros(1, 3, side, side)
    total, first = [0], [0]

    def count(m, _, y):
        n = m.weight[0].numel() * y[0].numel()
        total[0] += n
        if not first[0]:
            first[0] = n

    for m in net:
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            m.register_forward_hook(count)
    with torch.no_grad():
        net.eval()(x)
    return total[0], first[0]


def flops(model, train):
    """Two per multiply-add, for one picture; a training step adds as many for each
    gradient, without that of the input."""
    total, first = macs(model)
    return 2 * (3 * total - first if train else total)


class Step:
    """One test: a network with its data on the device, ready to run again and again."""

    def __init__(self, model, mode, batch, precision, device, cudnn_benchmark, how):
        make, side, decay = MODELS[model]
        self.cuda = device.type == "cuda"
        self.train = mode == "train"
        torch.backends.cudnn.benchmark = cudnn_benchmark
        # Also set where a layer would not use them, so that no variant inherits another's.
        torch.backends.cuda.matmul.allow_tf32 = precision == TF32
        torch.backends.cudnn.allow_tf32 = precision == TF32
        self.dtype = {FP16: torch.float16, BF16: torch.bfloat16}.get(precision)
        torch.manual_seed(7)
        # Made where it runs, where PyTorch can (2.0 and later): faster than on the CPU.
        with device if hasattr(device, "__enter__") else contextlib.nullcontext():
            net = make().to(device)
        n = sum(p.numel() for p in net.parameters())
        assert n == PARAMETERS[model], f"{model} has {n} parameters"
        self.flops = batch * flops(model, self.train)
        layout = torch.channels_last if self.dtype else torch.contiguous_format
        self.net = net.to(memory_format=layout).train(self.train)
        self.x = torch.randn(batch, 3, side, side, device=device).contiguous(memory_format=layout)
        self.labels = torch.randint(1000, (batch,), device=device)
        self.loss = nn.CrossEntropyLoss()
        self.scaler, self.optimizer, self.how = None, None, []
        if self.train:
            self.optimizer = self.sgd(decay)
            if self.dtype == torch.float16 and self.cuda:
                self.scaler = torch.amp.GradScaler("cuda") if hasattr(torch.amp, "GradScaler") else torch.cuda.amp.GradScaler()
                self.how.append("GradScaler")
        self.forward = torch.compile(self.net) if how == COMPILE else self.net
        if self.dtype:
            self.how.append("channels_last")
        self.out = None

    def sgd(self, decay):
        """The fastest form of SGD that this PyTorch has for the device."""
        # The rate leaves the parameters where they are, however often a step is repeated.
        args = dict(lr=1e-9, momentum=0.9, weight_decay=decay)
        forms = [{"fused": True}, {"foreach": True}] if self.cuda else []
        for form in forms + [{}]:
            try:
                made = torch.optim.SGD(self.net.parameters(), **args, **form)
            except (TypeError, RuntimeError, ValueError):
                continue
            self.how.append("SGD " + ("/".join(form) or "default"))
            return made

    def autocast(self):
        if self.dtype is None:
            return contextlib.nullcontext()
        # Cached casts of weights must not outlive a step that is captured.
        return torch.autocast(self.x.device.type, dtype=self.dtype, cache_enabled=not getattr(self, "captured", False))

    def infer(self):
        with torch.no_grad(), self.autocast():
            self.out = self.forward(self.x)

    def learn(self, zero=True):
        with self.autocast():
            self.out = self.loss(self.forward(self.x), self.labels)
        if self.scaler:
            self.scaler.scale(self.out).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.out.backward()
            self.optimizer.step()
        if zero:
            self.optimizer.zero_grad(set_to_none=True)

    def eager(self):
        self.learn() if self.train else self.infer()

    def graph(self):
        """Captures the step as a CUDA graph; gives what replays it."""
        self.captured = True
        if self.scaler:
            # GradScaler decides on the host whether to skip a step, unless the optimiser
            # takes scale and found_inf on the device.
            if not any(h.endswith("fused") for h in self.how):
                raise NotImplementedError("GradScaler needs the host at each step unless SGD is fused")
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(4):
                self.eager()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        self.out = None  # and with it what autograd kept of the last step
        g = torch.cuda.CUDAGraph()
        with torch.cuda.graph(g, stream=side):
            if self.train:
                # Gradients are None here, so that backward writes them into the graph's
                # own memory, the same at every replay.
                self.learn(zero=False)
            else:
                self.infer()
        self.how.append("CUDA graph")
        return g.replay

    def check(self):
        out = self.out.detach().float()
        if not bool(torch.isfinite(out).all()):
            raise ArithmeticError("a result that is no number")


def preheat(device, seconds):
    """Keeps a GPU busy until its clock has risen."""
    x = torch.randn(4096, 4096, device=device)
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(4):
            x @ x
        torch.cuda.synchronize()


def sample(once, cuda, args):
    """Times in seconds, as bench.Sampling takes them. On CUDA each sample is between two
    events; queueing may run ahead, so that the host's part hides where it can."""
    repeat, max_time = args.repeat, args.max_time

    def wait():
        if cuda:
            torch.cuda.synchronize()

    once()  # in the first run cuDNN chooses
    wait()
    start = time.perf_counter()
    runs = 1
    while runs < args.warmup or cuda and time.perf_counter() - start < args.warmup_time:
        if time.perf_counter() - start > max_time / 2:
            break
        for _ in range(4 if cuda else 1):
            once()
            runs += 1
        wait()
    start = time.perf_counter()
    times, wall = [], []
    if cuda:
        # The wall clock over a group of steps without a wait between them is the throughput
        # that training has; it is told beside the events.
        events = []
        begin = time.perf_counter()
        while len(events) < repeat and (len(events) < 3 or time.perf_counter() - start < max_time):
            a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            a.record()
            once()
            b.record()
            events.append((a, b))
            if len(events) % 8 == 0:
                wait()
        wait()
        wall = (time.perf_counter() - begin) / len(events)
        return [a.elapsed_time(b) / 1e3 for a, b in events], wall
    while len(times) < repeat and (len(times) < 3 or time.perf_counter() - start < max_time):
        t = time.perf_counter()
        once()
        times.append(time.perf_counter() - t)
    return times, statistics.fmean(times)


def row(name, model, mode, batch, precision, how):
    return {"device": name, "mode": mode, "model": model, "batch": batch, "test": mode,
            "variant": f"PyTorch {precision} {how}", "precision": precision.split()[-1]}


def measure(args, device, name, model, mode, batch, precision, how):
    cuda = device.type == "cuda"
    variant = f"{precision} {how}"
    r = row(name, model, mode, batch, precision, how)
    if not cuda:
        r["software"] = True
    try:
        if how == GRAPH and not cuda:
            raise NotImplementedError("CUDA graphs need CUDA")
        if how == COMPILE and not hasattr(torch, "compile"):
            raise NotImplementedError("torch.compile needs PyTorch 2")
        if precision == TF32 and not (cuda and torch.cuda.get_device_capability(device)[0] >= 8):
            raise NotImplementedError("no TF32 on this device")
        if precision == FP16 and not cuda:
            raise NotImplementedError("no fp16 autocast on the CPU")
        if precision == BF16 and cuda and not torch.cuda.is_bf16_supported():
            raise NotImplementedError("no bf16 on this device")
        if cuda:
            torch.cuda.reset_peak_memory_stats(device)
        step = Step(model, mode, batch, precision, device, args.cudnn_benchmark, how)
        r["images"], r["flops"] = batch, step.flops
        once = step.graph() if how == GRAPH else step.eager
        r["samples"], wall = sample(once, cuda, args)
        step.check()
        r["note"] = ", ".join(step.how + [f"{1e3 * wall:.3f} ms a step by the wall clock"])
        if cuda:
            r["memory"] = torch.cuda.max_memory_allocated(device)
        print(f"  {mode} {model} batch {batch} {variant}: {1e3 * statistics.median(r['samples']):.3f} ms, "
              f"{batch / statistics.median(r['samples']):.0f} images/s ({len(r['samples'])} samples)", file=sys.stderr)
    except Exception as e:  # a variant that fails must not take the others along
        r.pop("samples", None)
        lines = str(e).strip().splitlines()
        r["na"] = "skipped: " + (f"{type(e).__name__}: " if not isinstance(e, NotImplementedError) else "") + (lines[0] if lines else "")
        print(f"  {mode} {model} batch {batch} {variant}: {r['na']}", file=sys.stderr)
    return r


def cpu_name():
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "CPU"


def environment(device):
    v = {"torch": torch.__version__, "python": platform.python_version(), "cudnn.benchmark": "true"}
    if device.type == "cuda":
        p = torch.cuda.get_device_properties(device)
        v.update(cuda=str(torch.version.cuda), cudnn=str(torch.backends.cudnn.version()),
                 compute_capability=f"{p.major}.{p.minor}", device_memory=str(p.total_memory))
    env = {
        "program": "torch_bench.py", "version": "PyTorch " + torch.__version__,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "os": f"{platform.system().lower()}/{platform.machine()}", "kernel": platform.release(),
        "cpu": cpu_name(), "threads": torch.get_num_threads(), "variables": v, "command": sys.argv,
    }
    if hasattr(os, "getloadavg"):
        env["load"] = os.getloadavg()[0]
    return env


def words(text):
    return [w for w in text.split(",") if w]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--model", type=words, default=list(MODELS))
    p.add_argument("--batch", type=lambda t: [int(b) for b in words(t)], default=[128, 256])
    p.add_argument("--mode", type=words, default=["infer", "train"])
    p.add_argument("--precision", type=words, default=[FP32, TF32, FP16, BF16], help="fp32,tf32,amp fp16,amp bf16")
    p.add_argument("--how", type=words, default=[EAGER, GRAPH], help="eager,graph,compile: as it is, as a CUDA graph, by torch.compile (default: the first two)")
    p.add_argument("--no-cudnn-benchmark", dest="cudnn_benchmark", action="store_false",
                   help="do not let cuDNN time its algorithms first")
    p.add_argument("-r", "--repeat", type=int, default=10)
    p.add_argument("--warmup", type=int, default=3, help="runs before the samples that do not count")
    p.add_argument("--warmup-time", type=float, default=0.5, help="seconds that those take at least on a GPU")
    p.add_argument("--max-time", type=float, default=2.0, help="seconds after which a test takes no more samples than 3")
    p.add_argument("--budget", type=float, default=90, help="seconds after which no test is begun")
    p.add_argument("--out", help="file, rewritten after each test (default: standard output at the end)")
    args = p.parse_args()
    for given, known in ((args.model, MODELS), (args.mode, ["infer", "train"]), (args.how, [EAGER, GRAPH, COMPILE]),
                         (args.precision, [FP32, TF32, FP16, BF16])):
        for w in given:
            if w not in known:
                p.error(f"{w}: it must be one of {', '.join(known)}")
    if any(b < 1 for b in args.batch):
        p.error("--batch: it must be at least 1")
    device = torch.device(args.device)
    if device.type == "cpu":  # Debian's package takes one, whatever there is
        torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    report = {"schema": "vkalexnet-bench/1", "environment": environment(device), "devices": [], "results": []}
    report["environment"]["variables"]["cudnn.benchmark"] = str(args.cudnn_benchmark).lower()
    start = time.perf_counter()

    def flush():
        if args.out:
            with open(args.out + ".tmp", "w") as f:
                json.dump(report, f, indent=1)
            os.replace(args.out + ".tmp", args.out)

    print(f"device: {name}, PyTorch {torch.__version__}", file=sys.stderr)
    # Stable, so that within each of these the order is that of the flags.
    tests = sorted(itertools.product(args.model, args.batch, args.mode, args.precision, args.how),
                   key=lambda t: (t[4] == COMPILE, t[3] == TF32))
    if device.type == "cuda" and args.warmup_time > 0:
        preheat(device, 3 * args.warmup_time)
    for model, batch, mode, precision, how in tests:
        if time.perf_counter() - start > args.budget:
            report["results"].append(dict(row(name, model, mode, batch, precision, how), na=f"skipped: the budget of {args.budget:g} s was spent"))
            continue
        report["results"].append(measure(args, device, name, model, mode, batch, precision, how))
        gc.collect()
        if device.type == "cuda":
            with contextlib.suppress(Exception):
                torch.cuda.empty_cache()
        flush()
    print(f"{len(tests)} tests in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    flush()
    if not args.out:
        json.dump(report, sys.stdout, indent=1)
        print()
    if not any(r.get("samples") for r in report["results"]):
        sys.exit("nothing could be measured")


if __name__ == "__main__":
    main()
