#!/usr/bin/env python3
"""Measures torchvision's ImageFolder and DataLoader on a folder of pictures and prints
the results as `vkalexnet bench -o json` does, for `vkalexnet bench compare`.

    scripts/bench-torchvision.py FOLDER [REPEAT] > torchvision.json

FOLDER has one folder per class. On Debian: apt install python3-torch python3-torchvision."""
import datetime, io, json, os, platform, sys, time

import torch
from PIL import Image
from torchvision import __version__ as version, datasets, transforms

SIDE, BATCH = 256, 32


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    folder, repeat = sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 5
    torch.set_num_threads(1)
    resize = transforms.Compose([transforms.Resize(SIDE), transforms.CenterCrop(SIDE)])
    data = datasets.ImageFolder(folder, transforms.Compose([resize, transforms.PILToTensor()]))
    if not len(data):
        sys.exit(f"{folder} has no pictures")
    files = [open(path, "rb").read() for path, _ in data.samples]
    decode = lambda f: Image.open(io.BytesIO(f)).convert("RGB")
    pictures = [decode(f) for f in files]
    variant = f"torchvision {version}, torch {torch.__version__}, Pillow {Image.__version__}"
    results = []

    def measure(test, once):
        once()
        samples = []
        for _ in range(repeat):
            start = time.perf_counter()
            once()
            samples.append(time.perf_counter() - start)
        results.append({"device": "host", "mode": "loader", "test": test, "variant": variant, "images": len(files), "samples": samples, "note": folder})

    measure("decode", lambda: [decode(f) for f in files])
    measure(f"resize to {SIDE}", lambda: [resize(p) for p in pictures])
    measure(f"decode and resize to {SIDE}", lambda: [resize(decode(f)) for f in files])
    for workers in (0, 1, os.cpu_count()):
        loader = torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
        measure(f"whole batches, scaled to {SIDE}×{SIDE}, DataLoader with {workers} worker processes", lambda: [None for _ in loader])
    json.dump({
        "schema": "vkalexnet-bench/1",
        "environment": {"program": "torchvision", "version": version, "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                        "os": platform.system().lower(), "kernel": platform.release(), "threads": os.cpu_count(), "load": os.getloadavg()[0], "command": sys.argv},
        "devices": [],
        "results": results,
    }, sys.stdout, indent=2, ensure_ascii=False)
    print()


main()
