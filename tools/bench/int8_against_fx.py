#!/usr/bin/python3
"""INT8 latency and calibration cost against PyTorch's own FX static quantization, in one interleaved run.

usage: int8_against_fx.py EDGECOMPRESS [--models resnet18,mobilenet_v2] [--images 256] [--repeats 60]

Latency: one thread, 1x3x224x224, engine onednn. FX's network is traced and frozen (its fastest form), ours is the
saved model.pt; both run in this process, in turn. Calibration: the time that quantize_int8 reports for the whole step
(reading the images, folding, observing, packing) against a bare forward of the frozen float network over the same
images, with the same threads and batch. OpenMP's idle threads sleep instead of spinning in both, so that other work on
the machine weighs on both alike.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

os.environ["OMP_WAIT_POLICY"] = "passive"  # read when the library loads; inherited by edgecompress

import numpy
import torch
import torchvision
from torch.ao.quantization import QConfigMapping, get_default_qconfig
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

SHAPE = (1, 3, 224, 224)


def network(name):
    """Random weights, with batch-norm statistics of a few training batches (without them it runs into denormals)."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None).train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, *SHAPE[1:]))
    return model.eval()


def quantize_fx(model, images):
    mapping = QConfigMapping().set_global(get_default_qconfig("onednn"))
    prepared = prepare_fx(model, mapping, torch.randn(SHAPE))
    with torch.no_grad():
        for batch in images.split(32):
            prepared(batch)
        converted = convert_fx(prepared)
        return torch.jit.freeze(torch.jit.trace(converted, torch.randn(SHAPE)).eval())


def quantize_ours(binary, folder, model_file, observer, threads):
    recipe = {
        "name": "bench",
        "threads": threads,
        "model": {"path": model_file, "inputs": [{"shape": list(SHAPE)}]},
        "data": {"calibration": {"source": "npz", "path": "images.npz", "inputs": ["images"], "batch_size": 32}},
        "evaluation": {"latency": {"repeats": 5, "warm_up": 2}},
        "passes": [{"pass": "quantize_int8", "mode": "static", "observer": observer}],
    }
    path = os.path.join(folder, "recipe.json")
    output = os.path.join(folder, "out-" + observer)
    with open(path, "w") as file:
        json.dump(recipe, file)
    subprocess.run([binary, "--quiet", "run", path, "--output", output, "--overwrite"], check=True,
                   stdout=subprocess.DEVNULL)
    with open(os.path.join(output, "report.json")) as file:
        report = json.load(file)
    return torch.jit.load(os.path.join(output, "model.pt")), report["steps"][0]["seconds"]


def forward_seconds(frozen, images):
    started = time.perf_counter()
    with torch.inference_mode():
        for batch in images.split(32):
            frozen(batch)
    return time.perf_counter() - started


def interleaved(models, repeats):
    image = torch.randn(SHAPE)
    times = {name: [] for name in models}
    with torch.inference_mode():
        for repeat in range(repeats + 10):
            turn = list(models.items())
            for name, model in turn if repeat % 2 else reversed(turn):
                started = time.perf_counter()
                model(image)
                if repeat >= 10:
                    times[name].append((time.perf_counter() - started) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgecompress")
    parser.add_argument("--models", default="resnet18,mobilenet_v2")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2, help="of the calibration")
    parser.add_argument("--observers", default="minmax,histogram")
    parser.add_argument("--rounds", type=int, default=3, help="calibrations of each observer, in turn with the floor")
    arguments = parser.parse_args()
    torch.backends.quantized.engine = "onednn"
    torch.jit.enable_onednn_fusion(False)
    torch.set_flush_denormal(True)

    for name in arguments.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            model = network(name)
            images = torch.randn(arguments.images, *SHAPE[1:])
            numpy.savez(os.path.join(folder, "images.npz"), images=images.numpy())
            torch.jit.script(model).save(os.path.join(folder, "model.pt"))
            frozen = torch.jit.freeze(torch.jit.script(model))

            torch.set_num_threads(arguments.threads)
            forward_seconds(frozen, images[:32])
            for observer in arguments.observers.split(","):
                floors, steps = [forward_seconds(frozen, images)], []
                for _ in range(arguments.rounds):
                    ours, seconds = quantize_ours(arguments.edgecompress, folder, "model.pt", observer,
                                                  arguments.threads)
                    steps.append(seconds)
                    floors.append(forward_seconds(frozen, images))
                # Each step against the mean of the forwards before and after it: the load may drift meanwhile.
                ratio = statistics.median(2 * step / (before + after)
                                          for step, before, after in zip(steps, floors, floors[1:]))
                print(f"{name} quantize_int8 {observer}, {arguments.images} images, {arguments.threads} threads: "
                      f"{statistics.median(steps):.1f} s, bare float forward {statistics.median(floors):.1f} s, "
                      f"ratio {ratio:.2f}", flush=True)

            fx = quantize_fx(model, images)
            torch.set_num_threads(1)
            medians = interleaved({"fx": fx, "ours": ours, "float": frozen}, arguments.repeats)
            print(f"{name} latency: float {medians['float']:.2f} ms, FX {medians['fx']:.2f} ms, "
                  f"ours {medians['ours']:.2f} ms, ours / FX {medians['ours'] / medians['fx']:.3f}", flush=True)


if __name__ == "__main__":
    main()
