"""Traces (and scripts) one network of each family with stock PyTorch.

usage: make_traced_models.py FOLDER
Writes FOLDER/NAME_traced.pt and NAME_scripted.pt; the contract suite reads them. Exit code 77: no PyTorch here.
"""
import os
import sys

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError as error:
    print(f"skipped: stock PyTorch is not installed ({error})")
    sys.exit(77)


class ConvNormRelu(nn.Sequential):
    def __init__(self, inputs, outputs, kernel=3, stride=1, groups=1, activation=nn.ReLU):
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            activation(inplace=True),
        )


class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = ConvNormRelu(inputs, outputs, stride=stride)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = self.norm(self.conv2(self.conv1(x)))
        y += self.shortcut(x)
        return F.relu(y)


class Concat(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = ConvNormRelu(3, 8)
        self.left = nn.Conv2d(8, 6, 1)
        self.right = nn.Conv2d(8, 10, 3, padding=1)
        self.merge = ConvNormRelu(16, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([F.relu(self.left(x)), F.relu(self.right(x))], 1)
        x = F.avg_pool2d(self.merge(x), 2)
        return self.head(x.mean([2, 3]))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn = kind(6, 10, batch_first=True)
        self.head = nn.Linear(10, 4)

    def forward(self, x):
        y, _ = self.rnn(x)
        return self.head(y[:, -1])


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.layer(self.embed(x)).mean(1))


def pooled_head(features):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, 4)]


def networks():
    image, series, steps = (2, 3, 8, 8), (2, 4, 24), (2, 9, 6)
    yield "mlp", nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 4)), (2, 12)
    yield "cnn", nn.Sequential(ConvNormRelu(3, 8), nn.MaxPool2d(2), ConvNormRelu(8, 16, activation=nn.Hardswish),
                               *pooled_head(16)), image
    yield "residual_cnn", nn.Sequential(ConvNormRelu(3, 8), Residual(8, 8, 1), Residual(8, 16, 2),
                                        *pooled_head(16)), image
    yield "depthwise_cnn", nn.Sequential(ConvNormRelu(3, 12, 1, activation=nn.ReLU6),
                                         ConvNormRelu(12, 12, groups=12, activation=nn.ReLU6),
                                         nn.Conv2d(12, 8, 1), nn.BatchNorm2d(8), *pooled_head(8)), image
    yield "concat_cnn", Concat(), image
    yield "conv1d", nn.Sequential(nn.Conv1d(4, 8, 5, 2, 2), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 12, 3, 1, 1),
                                  nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 4)), series
    yield "lstm", Recurrent(nn.LSTM), steps
    yield "gru", Recurrent(nn.GRU), steps
    yield "transformer", Encoder(), steps


def main(folder):
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(0)
    for name, network, shape in networks():
        example = torch.randn(shape)
        network.train()
        with torch.no_grad():
            for _ in range(5):  # batch-norm statistics that are not those of a new network
                network(torch.randn(16, *shape[1:]))
        network.eval()
        torch.jit.trace(network, example, check_trace=False).save(os.path.join(folder, name + "_traced.pt"))
        torch.jit.script(network).save(os.path.join(folder, name + "_scripted.pt"))


if __name__ == "__main__":
    main(sys.argv[1])
