#!/usr/bin/python3
"""prune_channels on torchvision's 80 classification, 6 segmentation and 6 video networks, scripted and traced.

usage: channel_coverage.py ONE_PASS [--only REGEX] [--forms traced,scripted] [--ratio 0.5] [--results FILE]

ONE_PASS is the binary that tools/bench/one_pass.cpp becomes. Each network (random weights, batch-norm statistics of a
training batch) is loaded, pruned and saved. The pass compares what it made with the original whose same channels are
masked; here the written file must load in stock PyTorch, give finite outputs, and the same at another batch size where
the original could. Seconds are the CPU's, on one thread. One line a network is kept in the results file, JSON, as soon
as it is known; a network that is there is skipped, unless it failed and --again is given. At the end all that is known
is printed as a Markdown table.
"""
import argparse
import json
import multiprocessing
import os
import queue as queue_module
import re
import subprocess
import sys
import tempfile

os.environ["OMP_WAIT_POLICY"] = "passive"  # read when the library loads; inherited by edgecompress

TOLERANCE = 1e-3


def networks():
    """Of (name, input shape)."""
    from torchvision import models

    def shape(name):
        if name.startswith("inception"):
            return [1, 3, 299, 299]
        return [1, 3, 224, 224]

    found = [(name, shape(name)) for name in models.list_models(module=models)]
    found += [(name, [1, 3, 128, 128]) for name in models.list_models(module=models.segmentation)]
    for name in models.list_models(module=models.video):
        size = 112 if name in ("mc3_18", "r2plus1d_18", "r3d_18") else 224
        found.append((name, [1, 3, 16, size, size]))
    return found


def build(name, shape):
    import torch
    from torchvision import models

    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if name in models.list_models(module=models.segmentation):
        options["weights_backbone"] = None
    model = models.get_model(name, weights=None, **options)
    with torch.no_grad():  # heads of zeros and layer scales of 1e-6 would hide whatever goes wrong before them
        for parameter in model.parameters():
            if parameter.dim() < 2 or parameter.abs().max() < 1e-5:
                parameter.add_(0.1 * torch.randn_like(parameter))
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    if norms:  # untrained statistics run into denormals
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = None  # the batch's own statistics
        with torch.no_grad():
            model.train()(torch.randn(2, *shape[1:]))
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
    return model.eval()


def save(name, shape, form, path):
    import torch

    model = build(name, shape)
    if form == "scripted":
        torch.jit.script(model).save(path)
        return
    with torch.no_grad():
        torch.jit.trace(model, torch.randn(shape), strict=False).save(path)


def outputs_of(path, image):
    import torch

    with torch.inference_mode():
        found = torch.jit.load(path)(image)
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, (tuple, list)):
        return [tensor for tensor in found if isinstance(tensor, torch.Tensor)]
    return [found]


def check(original, pruned, shape):
    """Returns which batch sizes the pruned file ran at, or raises."""
    import torch

    torch.manual_seed(1)
    images = torch.randn(3, *shape[1:])
    alone = outputs_of(pruned, images[:1])
    if not all(torch.isfinite(tensor).all() for tensor in alone):
        raise RuntimeError("outputs are not finite")
    try:
        whole = outputs_of(original, images)
    except RuntimeError:
        return "1 (the original's only one)"
    found = outputs_of(pruned, images)
    for tensor, single, like in zip(found, alone, whole):
        if tensor.shape != like.shape:
            raise RuntimeError(f"{tuple(tensor.shape)} comes out, not {tuple(like.shape)}")
        if (tensor[:1] - single).abs().max() > TOLERANCE * single.abs().max():
            raise RuntimeError("a sample's output differs in another batch")
    return "1, 3"


def guarded(queue, function, arguments):
    try:
        queue.put((function(*arguments), None))
    except Exception as error:  # told in the table
        queue.put((None, f"{type(error).__name__}: {error}"))


def apart(function, *arguments):
    """In a process of its own, whose memory goes with it. Returns (result, error)."""
    context = multiprocessing.get_context("fork")  # PyTorch is imported, but has run nothing here
    queue = context.Queue()
    process = context.Process(target=guarded, args=(queue, function, arguments))
    process.start()
    while True:
        try:
            answer = queue.get(timeout=1)
            break
        except queue_module.Empty:
            if not process.is_alive():
                answer = (None, f"the process ended with {process.exitcode}")
                break
    process.join()
    return answer


def prune(binary, model, shape, ratio, output):
    """Returns (what one_pass says, error)."""
    options = json.dumps({"ratio": ratio})
    process = subprocess.run([binary, model, "x".join(map(str, shape)), "prune_channels", options, output],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if process.returncode != 0:
        return None, f"exit code {process.returncode}: {process.stderr.strip()}"
    told = json.loads(process.stdout)
    return told, None if told["changed"] else told["note"]


def cover(binary, name, shape, form, ratio):
    row = {"name": name, "form": form, "shape": shape}
    with tempfile.TemporaryDirectory() as folder:
        original, pruned = os.path.join(folder, "model.pt"), os.path.join(folder, "pruned.pt")
        _, error = apart(save, name, shape, form, original)
        if error:
            return {**row, "skipped": error}
        told, error = prune(binary, original, shape, ratio, pruned)
        if told:
            row.update({key: told[key] for key in ("load_seconds", "seconds", "save_seconds", "peak_mib", "counts")},
                       left_alone=told["details"].get("left_alone", []))
        if not error:
            row["batches"], error = apart(check, original, pruned, shape)
        if error:
            row["error"] = error
    return row


def short(text, width=160):
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= width else text[:width] + "..."


def left_alone(row):
    """The outputs' own layers are always left alone; the others by reason."""
    by_reason = {}
    for layer in row.get("left_alone", []):
        if layer["reason"] != "it is an output of the model":
            by_reason.setdefault(layer["reason"], []).append(layer["layer"])
    return "; ".join(f"{len(layers)}: {reason} ({layers[0]}{', ...' if len(layers) > 1 else ''})"
                     for reason, layers in by_reason.items())


def cells(row):
    """What hangs on the form too, and what should not."""
    if "error" in row:
        return [], [f"FAILED: {short(row['error'])}", "", "", "", ""]
    counts = row["counts"]
    left = [f"{counts[of + '_before'] / unit:.2f} → {counts[of + '_after'] / unit:.2f}"
            for of, unit in (("macs", 1e9), ("parameters", 1e6))]
    return ([f"{row['load_seconds']:.1f}", f"{row['seconds']:.1f}", str(row["peak_mib"])],
            [*left, f"{counts['groups']:.0f}", short(left_alone(row)), row["batches"]])


def print_table(rows):
    """One line a network; two where its forms differ in more than time and memory."""
    print("| network | form | GMACs | M parameters | groups | left alone | batch sizes | load s | prune s | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    done = [row for row in rows if "skipped" not in row]
    for name in dict.fromkeys(row["name"] for row in done):
        lines = {}
        for row in done:
            if row["name"] == name:
                costs, rest = cells(row)
                lines.setdefault(tuple(rest), []).append((row["form"], costs))
        for rest, forms in lines.items():
            costs = [" / ".join(column) for column in zip(*(costs for _, costs in forms))] or ["", "", ""]
            print(f"| {name} | {', '.join(form for form, _ in forms)} | {' | '.join(rest)} | {' | '.join(costs)} |")
    print(f"\n{sum('error' not in row for row in done)} of {len(done)} files pass; "
          f"{len(rows) - len(done)} networks can't be written in a form: "
          + ", ".join(f"{row['name']} {row['form']}: {short(row['skipped'])}" for row in rows if "skipped" in row))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one_pass")
    parser.add_argument("--only", default="", help="regular expression of names")
    parser.add_argument("--forms", default="traced,scripted")
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--results", default="channel_coverage.jsonl")
    parser.add_argument("--again", action="store_true", help="what failed is tried again")
    arguments = parser.parse_args()

    rows = {}
    if os.path.exists(arguments.results):
        with open(arguments.results) as file:
            for line in file:
                row = json.loads(line)
                rows[row["name"], row["form"]] = row  # the last word on a network counts
    for name, shape in networks():
        if not re.search(arguments.only, name):
            continue
        for form in arguments.forms.split(","):
            known = rows.get((name, form))
            if known and not (arguments.again and "error" in known):
                continue
            row = cover(os.path.abspath(arguments.one_pass), name, shape, form, arguments.ratio)
            rows[name, form] = row
            with open(arguments.results, "a") as file:
                file.write(json.dumps(row) + "\n")
            print(name, form, row.get("error") or row.get("skipped") or "ok", file=sys.stderr, flush=True)
    print_table(list(rows.values()))


if __name__ == "__main__":
    main()
