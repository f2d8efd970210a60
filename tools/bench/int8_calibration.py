#!/usr/bin/python3
"""What static calibration costs: quantize_int8 and PyTorch's FX against a bare float forward, in CPU seconds and memory.

usage: OMP_NUM_THREADS=1 int8_calibration.py ONE_PASS [--models resnet18,mobilenet_v2] [--images 256] [--rounds 3]

ONE_PASS is the binary that tools/bench/one_pass.cpp becomes. Every figure is of a process of its own, the processes in
turn; medians of the rounds. Ours is the whole step: reading the images, folding, observing, choosing ranges, packing.
FX's is prepare_fx, its forward over images already in memory, convert_fx. The bare forward is of the float network in
LibTorch's fastest form (frozen, frozen in channels-last, optimize_for_inference, by one batch), over images in memory.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

SHAPE = (3, 224, 224)
BATCH = 32
OBSERVERS = ("minmax", "moving_average", "percentile", "entropy", "histogram")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one_pass")
    parser.add_argument("--models", default="resnet18,mobilenet_v2")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print("| network | | CPU s | of the float forward | peak MiB |\n| --- | --- | --- | --- | --- |", flush=True)
    for name in arguments.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            compare(arguments, name, folder)


def compare(arguments, name, folder):
    model, images = os.path.join(folder, "model.pt"), os.path.join(folder, "images.npz")
    told_by(sys.executable, __file__, "--worker", "make", name, str(arguments.images), folder)
    commands = {f"FX, {kind}": (sys.executable, __file__, "--worker", "fx", name, model, str(arguments.images), kind)
                for kind in ("minmax", "histogram")}
    for observer in OBSERVERS:
        commands[f"quantize_int8, {observer}"] = (
            arguments.one_pass, model, "x".join(map(str, (1, *SHAPE))), "quantize_int8",
            json.dumps({"observer": observer}), os.path.join(folder, "int8.pt"), images)
    forward = (sys.executable, __file__, "--worker", "forward", model, str(arguments.images))
    floors, told = [], {kind: [] for kind in commands}
    for _ in range(arguments.rounds):
        floors.append(told_by(*forward))
        for kind, command in commands.items():
            told[kind].append(told_by(*command))
        floors.append(told_by(*forward))
    floor = statistics.median(one["seconds"] for one in floors)
    print_row(name, f"float forward, {floors[0]['form']}", floors, floor)
    for kind, results in told.items():
        print_row(name, kind, results, floor)


def print_row(name, kind, results, floor):
    seconds = statistics.median(one["seconds"] for one in results)
    peak = statistics.median(one["peak_mib"] for one in results)
    print(f"| {name} | {kind} | {seconds:.1f} | {seconds / floor:.2f} | {peak:.0f} |", flush=True)


def told_by(*command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout or "null")


def worker(what, *arguments):
    {"make": make, "fx": calibrate_fx, "forward": forward}[what](*arguments)


def tell(seconds, **more):
    print(json.dumps({"seconds": seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, **more}))


def batches(images):
    """The same images in every process, made as they are needed."""
    import torch
    generator = torch.Generator().manual_seed(1)
    for _ in range(int(images) // BATCH):
        yield torch.randn(BATCH, *SHAPE, generator=generator)


def make(name, images, folder):
    import numpy
    import torch
    from int8_against_fx import network
    torch.jit.script(network(name)).save(os.path.join(folder, "model.pt"))
    numpy.savez(os.path.join(folder, "images.npz"), images=torch.cat(list(batches(images))).numpy())


def forward(path, images):
    import torch
    torch.jit.enable_onednn_fusion(False)
    torch.set_flush_denormal(True)
    frozen, rewritten = (torch.jit.freeze(torch.jit.load(path).eval()) for _ in range(2))
    forms = {"frozen": (frozen, torch.contiguous_format), "channels_last": (frozen, torch.channels_last),
             "optimize_for_inference": (torch.jit.optimize_for_inference(rewritten), torch.contiguous_format)}

    def seconds(form, images):
        network, layout = form
        batch = images.contiguous(memory_format=layout)
        started = time.process_time()
        network(batch)
        return time.process_time() - started

    with torch.inference_mode():
        first = next(batches(BATCH))
        for form in forms.values():
            for _ in range(2):
                seconds(form, first)
        best = min(forms, key=lambda name: seconds(forms[name], first))
        tell(sum(seconds(forms[best], batch) for batch in batches(images)), form=best)


def calibrate_fx(name, path, images, kind):
    import torch
    import torchvision
    from torch.ao.quantization import MinMaxObserver, QConfig, QConfigMapping, get_default_qconfig
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
    torch.backends.quantized.engine = "onednn"
    torch.set_flush_denormal(True)
    config = get_default_qconfig("onednn")
    if kind == "minmax":
        config = QConfig(activation=MinMaxObserver.with_args(dtype=torch.quint8), weight=config.weight)
    model = getattr(torchvision.models, name)(weights=None).eval()
    model.load_state_dict(torch.jit.load(path).state_dict())
    started = time.process_time()
    with torch.no_grad():
        prepared = prepare_fx(model, QConfigMapping().set_global(config), torch.randn(1, *SHAPE))
        seconds = time.process_time() - started
        for batch in batches(images):
            started = time.process_time()
            prepared(batch)
            seconds += time.process_time() - started
        started = time.process_time()
        convert_fx(prepared)
    tell(seconds + time.process_time() - started)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main()
