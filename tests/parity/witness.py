"""PyTorch as the outside witness of the weights' readers, the forward pass and the preprocessing.

witness.py make DIR SAMPLES.tar   random weights of both networks as .pth (zip and sequential),
                                ONNX and .caffemodel, 20 pictures, and PyTorch's logits of them
witness.py check DIR              compare vkalexnet's logits (DIR/<weights>.<pictures>.jsonl),
                                onnxruntime's of vkalexnet's ONNX (DIR/<network>.ort.f32) and
                                the packed bytes (DIR/packed.*) with them
witness.py golden                 the sums of TestStoreIsPILs in loader/resize_test.go
"""
import glob, hashlib, io, json, os, sys, tarfile
import numpy as np
import torch
from torch import nn
from PIL import Image
from torchvision import models, transforms

COUNT = 20


def grouped():
    """Caffe's bvlc_alexnet under torchvision-like names; its input is BGR, 0..255 minus the mean."""
    def conv(i, o, k, **more):
        return nn.Conv2d(i, o, k, **more)
    lrn = lambda: nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)
    pool = lambda: nn.MaxPool2d(3, 2, ceil_mode=True)
    return nn.Sequential(
        conv(3, 96, 11, stride=4), nn.ReLU(), lrn(), pool(),
        conv(96, 256, 5, padding=2, groups=2), nn.ReLU(), lrn(), pool(),
        conv(256, 384, 3, padding=1), nn.ReLU(),
        conv(384, 384, 3, padding=1, groups=2), nn.ReLU(),
        conv(384, 256, 3, padding=1, groups=2), nn.ReLU(), pool(), nn.Flatten(),
        nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, 1000)).eval()


def randomise(net):
    for m in net.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(m.weight)
            nn.init.normal_(m.bias, std=0.1)


def prepare(name, image, how):
    """how: "own" is the usual way with torchvision, "caffe" that of Caffe's tools; "identical"
    pictures are 256 x 256 already."""
    if name == "owt":
        resize = [transforms.Resize(256)] if how == "own" else []
        return transforms.Compose(resize + [transforms.CenterCrop(224), transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])(image)
    if how == "own":
        image = transforms.Resize((256, 256))(image)
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    if how == "caffe":  # cv::resize, bilinear and without antialiasing, to whole numbers
        x = nn.functional.interpolate(x[None], (256, 256), mode="bilinear", align_corners=False)[0].round()
    x = x[[2, 1, 0]] - torch.tensor([104.0, 117.0, 123.0])[:, None, None]
    return x[:, 14:241, 14:241].contiguous()


def caffemodel(state):
    """A NetParameter of 2014: V1 layers, four-dimensional shapes, channels as the network saw them."""
    def varint(n):
        out = b""
        while n > 127:
            out, n = out + bytes([n & 127 | 128]), n >> 7
        return out + bytes([n])
    def field(n, data):
        return varint(n << 3 | 2) + varint(len(data)) + data
    net = field(1, b"AlexNet")
    for name in dict.fromkeys(k.split(".")[0] for k in state):
        layer = field(4, name.encode()) + varint(5 << 3) + varint(4 if name.startswith("conv") else 14)
        for kind in ("weight", "bias"):
            t = state[f"{name}.{kind}"]
            shape = [1] * (4 - t.dim()) + list(t.shape)
            blob = b"".join(varint(i + 1 << 3) + varint(d) for i, d in enumerate(shape))
            layer += field(6, blob + field(5, t.numpy().tobytes()))
        net += field(2, layer)
    return net


def make(folder, samples):
    torch.manual_seed(1)
    os.makedirs(f"{folder}/identical", exist_ok=True)
    os.makedirs(f"{folder}/own", exist_ok=True)
    os.makedirs(f"{folder}/all/train/a", exist_ok=True)
    pictures = []
    with tarfile.open(samples) as tar:
        for n in tar.getnames():
            if n.endswith(".JPEG"):
                open(f"{folder}/all/train/a/{os.path.basename(n)}", "wb").write(tar.extractfile(n).read())
        names = sorted(n for n in tar.getnames() if n.endswith(".JPEG"))[::5][:COUNT]
        for n in names:
            data, base = tar.extractfile(n).read(), os.path.basename(n)
            open(f"{folder}/own/{base}", "wb").write(data)
            image = Image.open(io.BytesIO(data)).convert("RGB")
            image.resize((256, 256), Image.BILINEAR).save(f"{folder}/identical/{base[:-5]}.png")
            pictures.append(base[:-5])
    for name, net, size in [("owt", models.alexnet().eval(), 224), ("grouped", grouped(), 227)]:
        randomise(net)
        with torch.no_grad():
            for how, kind, ext in [("identical", "identical", ".png"), ("own", "own", ".JPEG"), ("caffe", "own", ".JPEG")]:
                batch = torch.stack([prepare(name, Image.open(f"{folder}/{kind}/{p}{ext}").convert("RGB"), how) for p in pictures])
                np.savez(f"{folder}/{name}.{how}.npz", logits=net(batch).numpy(), names=[p + ext for p in pictures])
                if how == "identical":
                    batch.numpy().tofile(f"{folder}/{name}.input.f32")
        state = net.state_dict()
        if name == "owt":
            torch.save({"epoch": 3, "arch": "alexnet", "state_dict": {k.replace("features.", "features.module."): v for k, v in state.items()}}, f"{folder}/{name}.zip.pth")
        else:
            layers = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
            state = {f"{layers[i // 2]}.{'bias' if i % 2 else 'weight'}": v for i, v in enumerate(state.values())}
            open(f"{folder}/{name}.caffemodel", "wb").write(caffemodel(state))
            # A .pth counts as RGB: this network's first layer saw BGR.
            state["conv1.weight"] = state["conv1.weight"].flip(1).contiguous()
            torch.save(state, f"{folder}/{name}.zip.pth")
            state = dict(state)
        torch.save(state, f"{folder}/{name}.sequence.pth", _use_new_zipfile_serialization=False)
        torch.onnx.export(net, torch.zeros(1, 3, size, size), f"{folder}/{name}.onnx", opset_version=13)
    print("PyTorch", torch.__version__)


def top5(logits):
    return set(np.argsort(-logits)[:5])


def check(folder):
    bad = []
    print("| weights | pictures | largest difference / spread of the logits | top-5 equal | least gap between 5th and 6th / spread |")
    print("| --- | --- | --- | --- | --- |")
    def row(weights, kind, want, got, bounds):
        spread = want.max(1) - want.min(1)
        worst = (np.abs(got - want).max(1) / spread).max()
        equal = sum(top5(g) == top5(w) for g, w in zip(got, want))
        ordered = -np.sort(-want, axis=1)
        gap = ((ordered[:, 4] - ordered[:, 5]) / spread).min()
        print(f"| {weights} | {kind} | {worst:.2e} | {equal} of {len(want)} | {gap:.1e} |")
        if bounds and worst > 1e-4 or equal < 0.95 * len(want):
            bad.append(f"{weights}, {kind}")
    for file in sorted(glob.glob(f"{folder}/*.jsonl")):
        weights, kind, _ = os.path.basename(file).rsplit(".", 2)
        how = "caffe" if kind == "own" and weights.endswith(".caffemodel") else kind
        want = np.load(f"{folder}/{weights.split('.')[0]}.{how}.npz")
        rows = {os.path.basename(r["file"]): np.array(r["logits"]) for r in map(json.loads, open(file))}
        if len(rows) != COUNT:
            sys.exit(f"parity: {file} has {len(rows)} pictures")
        row(weights, kind, want["logits"], np.stack([rows[str(n)] for n in want["names"]]), kind == "identical")
    for file in sorted(glob.glob(f"{folder}/*.ort.f32")):
        name = os.path.basename(file).split(".")[0]
        want = np.load(f"{folder}/{name}.identical.npz")["logits"]
        row(f"{name}, exported to ONNX, in onnxruntime", "identical", want, np.fromfile(file, np.float32).reshape(want.shape), True)
    print()
    for packed in sorted(glob.glob(f"{folder}/packed.*")):
        if bytes_of(folder, packed) > 0 and "turbo" in packed:
            bad.append(f"{packed} differs from torchvision's bytes")
    if bad:
        sys.exit("parity: a bound is broken: " + "; ".join(bad))


def bytes_of(folder, packed):
    """Compares the packed pictures, packed.<decoder>.<resize>, with torchvision's."""
    _, decoder, resize = os.path.basename(packed).split(".")
    data, side = open(f"{packed}/train-00000.pack", "rb").read(), 256
    names, counts, same = sorted(os.listdir(f"{folder}/all/train/a")), np.zeros(256, int), 0
    for i, name in enumerate(names):
        image = Image.open(f"{folder}/all/train/a/{name}").convert("RGB")
        if resize == "short":
            image = transforms.CenterCrop(side)(transforms.Resize(side)(image))
        else:
            image = transforms.Resize((side, side))(image)
        got = np.frombuffer(data, np.uint8, side * side * 3, 4096 + i * side * side * 3).astype(int)
        difference = np.bincount(np.abs(got - np.asarray(image).ravel()), minlength=256)
        counts += difference
        same += difference[1:].sum() == 0
    shares = ", ".join(f"{c} by {d}" for d, c in enumerate(counts) if c and d)
    print(f"{decoder}, resize {resize}: {same} of {len(names)} pictures have torchvision's bytes; of {counts.sum()} bytes {counts[1:].sum()} differ{': ' + shares if shares else ''}")
    return counts[1:].sum()


def golden():
    for w, h, stored, mode in [(100, 80, 32, "warp"), (31, 97, 24, "short"), (500, 375, 256, "short"), (375, 501, 256, "short"),
                               (641, 427, 227, "warp"), (10, 7, 24, "warp"), (500, 3, 16, "short"), (3, 500, 17, "short"),
                               (1, 1, 8, "warp"), (2, 300, 5, "warp"), (1237, 64, 9, "warp"), (64, 64, 64, "short")]:
        x, y = np.meshgrid(np.arange(w), np.arange(h))
        image = Image.fromarray(np.stack([(x * (7 + c)) ^ (y * (13 - c)) for c in range(3)], 2).astype(np.uint8))
        if mode == "short":
            image = transforms.CenterCrop(stored)(transforms.Resize(stored)(image))
        else:
            image = transforms.Resize((stored, stored))(image)
        print(f'{{{w}, {h}, {stored}, "{mode}", "{hashlib.sha256(image.tobytes()).hexdigest()[:16]}"}},')


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3])
    elif sys.argv[1] == "golden":
        golden()
    else:
        check(sys.argv[2])
