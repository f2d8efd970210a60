#!/usr/bin/python3
"""INT8 latency against PyTorch's FX static quantization and against the fastest float form, in one interleaved run.

usage: OPENBLAS_CORETYPE=Zen int8_against_fx.py EDGECOMPRESS [--models resnet18,mobilenet_v2] [--repeats 60]

One thread, 1x3x224x224, engine onednn, CPU milliseconds (medians; each network's forms run in turn, so that other work
on the machine weighs on all alike). FX's network is traced and frozen, its fastest form; ours is the saved model.pt as
it is. Float forms are those that edgecompress compares with too: frozen, frozen in channels-last memory order, and
LibTorch's optimize_for_inference. OPENBLAS_CORETYPE must name this CPU where OpenBLAS does not know it (see
edgecompress benchmark), or the float forms are slower than they need be.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when the libraries load

import numpy
import torch
import torchvision
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

SHAPE = (1, 3, 224, 224)
NETWORKS = "resnet18,resnet50,mobilenet_v2,mobilenet_v3_small,squeezenet1_1,efficientnet_b0"
WARM_UP = 10


def network(name):
    """Random weights, with batch-norm statistics of a few training batches (without them it runs into denormals)."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None).train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, *SHAPE[1:]))
    return model.eval()


def quantize_fx(model, images):
    mapping = get_default_qconfig_mapping("onednn")
    prepared = prepare_fx(model, mapping, torch.randn(SHAPE))
    with torch.no_grad():
        for batch in images.split(32):
            prepared(batch)
        converted = convert_fx(prepared)
        return torch.jit.freeze(torch.jit.trace(converted, torch.randn(SHAPE)).eval())


def quantize_ours(edgecompress, folder):
    recipe = {
        "name": "bench",
        "threads": 1,
        "model": {"path": "model.pt", "inputs": [{"shape": list(SHAPE)}]},
        "data": {"calibration": {"source": "npz", "path": "images.npz", "inputs": ["images"]}},
        "evaluation": {"latency": {"repeats": 5, "warm_up": 2}},
        "passes": [{"pass": "quantize_int8", "mode": "static", "observer": "minmax"}],
    }
    path, output = os.path.join(folder, "recipe.json"), os.path.join(folder, "out")
    with open(path, "w") as file:
        json.dump(recipe, file)
    subprocess.run([edgecompress, "--quiet", "run", "--no-cache", path, "--output", output], check=True, stdout=subprocess.DEVNULL)
    return torch.jit.load(os.path.join(output, "model.pt"))


def float_forms(model_file):
    """By name: the network and the memory order of its input."""

    def scripted():
        return torch.jit.load(model_file).eval()

    channels_last = scripted().to(memory_format=torch.channels_last)
    return {
        "frozen": (torch.jit.freeze(scripted()), torch.contiguous_format),
        "channels_last": (torch.jit.freeze(channels_last), torch.channels_last),
        "optimized": (torch.jit.optimize_for_inference(scripted()), torch.contiguous_format),
    }


def interleaved(forms, repeats):
    """Median CPU milliseconds of each form."""
    image = torch.randn(SHAPE)
    times = {name: [] for name in forms}
    with torch.inference_mode():
        inputs = {name: image.contiguous(memory_format=order) for name, (_, order) in forms.items()}
        for repeat in range(repeats + WARM_UP):
            turn = list(forms.items())
            for name, (model, _) in turn if repeat % 2 else reversed(turn):
                started = time.process_time()
                model(inputs[name])
                if repeat >= WARM_UP:
                    times[name].append((time.process_time() - started) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(name, edgecompress, repeats):
    with tempfile.TemporaryDirectory() as folder:
        model = network(name)
        images = torch.randn(8, *SHAPE[1:])
        numpy.savez(os.path.join(folder, "images.npz"), images=images.numpy())
        model_file = os.path.join(folder, "model.pt")
        torch.jit.script(model).save(model_file)
        forms = float_forms(model_file)
        forms["FX"] = (quantize_fx(model, images), torch.contiguous_format)
        forms["ours"] = (quantize_ours(edgecompress, folder), torch.contiguous_format)
        return interleaved(forms, repeats)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgecompress")
    parser.add_argument("--models", default=NETWORKS)
    parser.add_argument("--repeats", type=int, default=60)
    arguments = parser.parse_args()
    torch.backends.quantized.engine = "onednn"
    torch._C._jit_set_texpr_fuser_enabled(False)  # with it, optimize_for_inference may never finish
    torch._C._jit_override_can_fuse_on_cpu(False)
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)

    print("| network | frozen | channels_last | optimize_for_inference | FX INT8 | ours INT8 | ours / FX "
          "| ours / best float |\n| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in arguments.models.split(","):
        times = measure(name, arguments.edgecompress, arguments.repeats)
        floats = [times[form] for form in ("frozen", "channels_last", "optimized")]
        cells = floats + [times["FX"], times["ours"]]
        print(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) +
              f" | {times['ours'] / times['FX']:.2f} | {times['ours'] / min(floats):.2f} |", flush=True)


if __name__ == "__main__":
    main()
