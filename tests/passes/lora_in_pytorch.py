#!/usr/bin/python3
"""Checks a stored adapter against stock PyTorch.

usage: lora_in_pytorch.py FOLDER

FOLDER holds base.pt, merged.pt and apart.pt (the network without, with and beside the adapter) and PEFT's two files.
Base + adapter, computed here from the files alone, must be the merged weights, and both networks must give the same
outputs. The files are read with the safetensors package if it is there, else by its published format. Exit status 77
without PyTorch.
"""
import json
import pathlib
import struct
import sys

try:
    import torch
except ImportError:
    sys.exit(77)


def read_safetensors(path):
    try:
        from safetensors.torch import load_file
        return load_file(path)
    except ImportError:
        pass
    # Eight bytes of header length, little-endian; a JSON header; the data, which offsets count from.
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32", entry
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32).reshape(entry["shape"])
    return tensors


def matches(pattern_of, module, otherwise):
    import re
    for pattern, value in pattern_of.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return otherwise


def main():
    folder = pathlib.Path(sys.argv[1])
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = read_safetensors(folder / "adapter_model.safetensors")
    base, merged, apart = (torch.jit.load(folder / f"{name}.pt") for name in ("base", "merged", "apart"))
    before, after = dict(base.named_parameters()), dict(merged.named_parameters())
    prefix = "base_model.model."
    adapted = set()
    for name in tensors:
        if not name.endswith(".lora_A.weight"):
            continue
        module = name[len(prefix):-len(".lora_A.weight")]
        a, b = tensors[name], tensors[f"{prefix}{module}.lora_B.weight"]
        rank = matches(config["rank_pattern"], module, config["r"])
        alpha = matches(config["alpha_pattern"], module, config["lora_alpha"])
        assert a.shape[0] == rank == b.shape[1], (module, a.shape, b.shape, rank)
        scale = alpha / (rank ** 0.5 if config["use_rslora"] else rank)
        weight = before[f"{module}.weight"]
        if weight.dim() == 2:
            whole = weight + scale * b @ a
        else:  # a convolution's adapter as PEFT merges it
            whole = weight + scale * torch.einsum("or,ri...->oi...", b.flatten(1), a)
        if config["use_dora"]:
            rows = whole.flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1))
            whole = whole / rows * tensors[f"{prefix}{module}.lora_magnitude_vector"].view_as(rows)
        assert torch.allclose(after[f"{module}.weight"], whole, rtol=1e-5, atol=1e-6), module
        assert not torch.equal(weight, whole), module
        adapted.add(f"{module}.weight")
    assert {module + ".weight" for module in config["target_modules"]} == adapted
    kept = dict(apart.named_parameters())
    for name, parameter in before.items():
        assert torch.equal(kept[name], parameter), name

    torch.manual_seed(0)
    for shape in ([3, 12], [3, 3, 12, 12], [3, 7, 6], [3, 4, 24]):
        x = torch.randn(shape)
        with torch.no_grad():
            try:
                ours = merged(x)
            except RuntimeError:
                continue  # an input of another network
            assert torch.allclose(apart(x), ours, rtol=1e-4, atol=1e-5)
            return
    raise AssertionError("no input fits")


main()
