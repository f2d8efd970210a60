"""Writes what the fuzzers start from: FOLDER/READER/*, a few hundred bytes each.

usage: make_seeds.py FOLDER
Needs NumPy, Pillow and PyTorch. The inputs' form is told in readers.h.
"""
import io
import json
import pathlib
import struct
import sys
import zipfile

import numpy
import torch
from PIL import Image
from torch import nn

SOURCE = pathlib.Path(__file__).resolve().parents[2]


def npy(array, version=(1, 0)):
    file = io.BytesIO()
    numpy.lib.format.write_array(file, array, version=version)
    return file.getvalue()


def parts(entries):
    return b"\n".join(f"@@{name}\n".encode() + content for name, content in entries)


def recipes():
    for path in SOURCE.glob("configs/*.json"):
        yield path.name, path.read_bytes()
    base = {"model": {"path": "a.pt", "inputs": [{"shape": [1, 3], "dtype": "int64", "high": 9}]},
            "data": {"train": {"source": "npz", "path": "a.npz", "target": "y", "map_labels": [0, 1]},
                     "validation": {"from": "train", "split": 0.1},
                     "calibration": {"source": "csv", "path": "a.csv", "options": {"header": False}}},
            "output": {"directory": "../out"}, "gates": {"min_speedup": 2}}
    passes = {
        "prune": [{"pass": "prune_channels", "ratio": 0.5, "criterion": "taylor",
                   "gate": {"max_accuracy_drop": 0.1, "on_fail": "stop"}},
                  {"pass": "prune_weights", "pattern": "2:4"}],
        "train": [{"pass": "finetune", "head": {"layer": "fc", "classes": 2}, "freeze": ["^conv"],
                   "optimizer": {"name": "sgd", "lr": 1e-3}},
                  {"pass": "distill", "teacher": "original", "temperature": 2},
                  {"pass": "lora", "rank": 4, "adapters": [{"path": "adapter", "weight": 0.5}]}],
        "int8": [{"pass": "fold_batch_norm"}, {"pass": "low_rank", "energy": 0.9},
                 {"pass": "quantize_int8", "mode": "static", "observer": "percentile",
                  "percentile": 99.9, "training": {"epochs": 1}}],
    }
    for name, steps in passes.items():
        yield name, json.dumps({**base, "passes": steps}).encode()


def csvs():
    yield "plain", b"{}\na,b,label\n1,2.5,0\n-3e2, 4,1\n"
    yield "target", b'{"target":"label"}\na,b,label\n1,2.5,0\n3,4,1\n'
    yield "quoted", b'{"inputs":["a b"],"target":"1","options":{"delimiter":";"}}\n\xef\xbb\xbf"a b";1\r\n"1";"2"\r\n'
    yield "shape", b'{"options":{"header":false,"delimiter":"|","shape":[2,2]}}\n1|2|3|4\n5|6|7|8'


def npys():
    for kind in ["u1", "i1", "b1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"]:
        yield kind.strip("<"), npy(numpy.arange(6).reshape(3, 2).astype(kind))
    yield "fortran", npy(numpy.asfortranarray(numpy.arange(12.0, dtype="f4").reshape(2, 3, 2)))
    yield "version2", npy(numpy.zeros((2,), "f4"), version=(2, 0))


def npzs():
    images, labels = npy(numpy.zeros((2, 2, 2), "u1")), npy(numpy.array([0, 1]))
    yield "stored", parts([(" images.npy", images), (" labels.npy", labels)])
    yield "deflated", parts([("z images.npy", images), ("z labels.npy", labels)])
    file = io.BytesIO()
    numpy.savez(file, images=numpy.zeros((2, 2), "f4"))
    yield "archive", file.getvalue()


def images():
    noise = numpy.random.default_rng(0).integers(0, 255, (9, 7, 4), dtype="u1")
    for mode, pixels in {"RGB": noise[:, :, :3], "RGBA": noise, "L": noise[:, :, 0],
                         "LA": noise[:, :, :2]}.items():
        file = io.BytesIO()
        Image.fromarray(pixels, mode).save(file, "png")
        yield mode + ".png", file.getvalue()
    picture = Image.fromarray(noise[:, :, :3])
    for name, image, options in [("palette.png", picture.quantize(16), {}),
                                 ("bits.png", picture.convert("1"), {}),
                                 ("deep.png", Image.fromarray(noise[:, :, 0].astype("u2")), {}),
                                 ("colour.jpg", picture, {"quality": 50}),
                                 ("grey.jpg", picture.convert("L"), {}),
                                 ("progressive.jpg", picture, {"progressive": True}),
                                 ("cmyk.jpg", picture.convert("CMYK"), {})]:
        file = io.BytesIO()
        image.save(file, "jpeg" if name.endswith("jpg") else "png", **options)
        yield name, file.getvalue()


def safetensors(tensors, metadata=None):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (kind, array) in tensors.items():
        content = array.tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def adapters():
    yield "tensors", safetensors({"a": ("F32", numpy.zeros((2, 3), "f4")),
                                  "b": ("BOOL", numpy.array([True])),
                                  "c": ("I64", numpy.zeros((0, 4), "i8"))}, {"format": "pt"})
    prefix = "base_model.model.fc"
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 2, "alpha_pattern": {"^fc": 4},
              "use_dora": True, "modules_to_save": ["head"], "init_lora_weights": "gaussian"}
    tensors = {prefix + ".lora_A.weight": ("F32", numpy.ones((1, 3), "f4")),
               prefix + ".lora_B.weight": ("F16", numpy.ones((2, 1), "f2")),
               prefix + ".lora_magnitude_vector": ("F32", numpy.ones((2,), "f4")),
               "base_model.model.head.weight": ("F32", numpy.ones((2, 2), "f4"))}
    yield "adapter", parts([(" adapter_config.json", json.dumps(config).encode()),
                            (" adapter_model.safetensors", safetensors(tensors))])


class Stateful(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    @torch.jit.export
    def __getstate__(self):
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: "Tuple[torch.Tensor, bool]"):
        self.weight = state[0] * 2
        self.training = state[1]

    def forward(self, x):
        return x[:, :, 0, 0] * self.weight


def networks():
    torch.manual_seed(0)
    convolution = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True),
                                nn.Flatten(), nn.Linear(72, 2)).eval()
    yield "scripted", torch.jit.script(convolution)
    yield "traced", torch.jit.trace(convolution, torch.zeros(1, 3, 8, 8))
    yield "state", torch.jit.script(Stateful())
    torch.backends.quantized.engine = "qnnpack"
    dynamic = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)))
    yield "int8", torch.jit.script(dynamic)


def torches():
    for name, images in [("floats", torch.zeros(2, 3)), ("bytes", torch.zeros(2, 2, dtype=torch.uint8))]:
        file = io.BytesIO()
        torch.save({"images": images, "labels": torch.tensor([0, 1])}, file)
        archive = zipfile.ZipFile(file)
        yield name, parts([(" " + entry, archive.read(entry)) for entry in archive.namelist()])


def torchscripts():
    for name, module in networks():
        file = io.BytesIO()
        torch.jit.save(module, file)
        archive = zipfile.ZipFile(file)
        entries = [(" " + entry, archive.read(entry)) for entry in archive.namelist()
                   if not entry.endswith(".debug_pkl")]
        yield name, parts(entries)
        if name == "state":
            yield "archive", file.getvalue()


def main():
    readers = {"recipe": recipes, "csv": csvs, "npy": npys, "npz": npzs, "image": images, "torch": torches,
               "safetensors": adapters, "torchscript": torchscripts}
    for reader, seeds in readers.items():
        folder = pathlib.Path(sys.argv[1]) / reader
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in seeds():
            (folder / name).write_bytes(content)


main()
