"""PyTorch as the outside witness of the weights' readers and the forward pass.

witness.py make DIR SAMPLES.tar   random weights of both networks as .pth (zip and sequential) and
                                ONNX, 20 pictures, and PyTorch's logits of them
witness.py check DIR              compare vkalexnet's logits (DIR/<weights>.<pictures>.jsonl) with them
"""
import io, json, os, sys, tarfile
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


def prepare(name, image, own):
    """own: the network's usual preprocessing; otherwise the picture is 256 x 256 already."""
    if name == "owt":
        resize = [transforms.Resize(256)] if own else []
        return transforms.Compose(resize + [transforms.CenterCrop(224), transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])(image)
    if own:  # Caffe warps, bilinearly and without antialiasing
        x = torch.from_numpy(np.asarray(image)).permute(2, 0, 1).float()
        x = nn.functional.interpolate(x[None], (256, 256), mode="bilinear", align_corners=False)[0]
    else:
        x = torch.from_numpy(np.asarray(image)).permute(2, 0, 1).float()
    x = x[[2, 1, 0]] - torch.tensor([104.0, 117.0, 123.0])[:, None, None]
    return x[:, 14:241, 14:241].contiguous()


def make(folder, samples):
    torch.manual_seed(1)
    os.makedirs(f"{folder}/identical", exist_ok=True)
    os.makedirs(f"{folder}/own", exist_ok=True)
    pictures = []
    with tarfile.open(samples) as tar:
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
            for own, kind, ext in [(False, "identical", ".png"), (True, "own", ".JPEG")]:
                batch = torch.stack([prepare(name, Image.open(f"{folder}/{kind}/{p}{ext}").convert("RGB"), own) for p in pictures])
                np.savez(f"{folder}/{name}.{kind}.npz", logits=net(batch).numpy(), names=[p + ext for p in pictures])
        state = net.state_dict()
        if name == "owt":
            torch.save({"epoch": 3, "arch": "alexnet", "state_dict": {k.replace("features.", "features.module."): v for k, v in state.items()}}, f"{folder}/{name}.zip.pth")
        else:
            layers = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
            state = {f"{layers[i // 2]}.{'bias' if i % 2 else 'weight'}": v for i, v in enumerate(state.values())}
            # A .pth counts as RGB: this network's first layer saw BGR.
            state["conv1.weight"] = state["conv1.weight"].flip(1).contiguous()
            torch.save(state, f"{folder}/{name}.zip.pth")
            state = dict(state)
        torch.save(state, f"{folder}/{name}.sequence.pth", _use_new_zipfile_serialization=False)
        torch.onnx.export(net, torch.zeros(1, 3, size, size), f"{folder}/{name}.onnx", opset_version=13)
    print("PyTorch", torch.__version__)


def check(folder):
    bad = False
    print("| weights | pictures | largest difference / spread of the logits | top-5 equal |")
    print("| --- | --- | --- | --- |")
    for file in sorted(f for f in os.listdir(folder) if f.endswith(".jsonl")):
        weights, kind, _ = file.rsplit(".", 2)
        want = np.load(f"{folder}/{weights.split('.')[0]}.{kind}.npz")
        rows = {os.path.basename(r["file"]): np.array(r["logits"]) for r in map(json.loads, open(f"{folder}/{file}"))}
        worst, equal = 0.0, 0
        for name, logits in zip(want["names"], want["logits"]):
            got = rows[str(name)]
            worst = max(worst, np.abs(got - logits).max() / (logits.max() - logits.min()))
            equal += set(np.argsort(-got)[:5]) == set(np.argsort(-logits)[:5])
        print(f"| {weights} | {kind} | {worst:.2e} | {equal} of {len(want['names'])} |")
        bad |= len(rows) != COUNT or (worst > 1e-4 if kind == "identical" else equal < 0.95 * COUNT)
    sys.exit("parity: a bound is broken" if bad else None)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3])
    else:
        check(sys.argv[2])
