#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Training throughput of PyTorch for the benchmark networks: the peer that tools/bench and tools/gpu_compare compare with.

  tools/bench_torch.py --network mlp --batch 256 --arrays DIR --threads 2 [--seconds 5] [--channels-last] [--optimizer foreach]
                       [--compile] [--packed] [--device cuda] [--precision bf16]

DIR holds the arrays of a network's data as .npy, named as in the HDF5 file, which the callers make from or beside such files.
The networks and optimizers are those of inputs/mnist_mlp.toml, mnist_lenet.toml, cifar10_resnet20.toml, shakespeare_gpt.toml,
polarity_lstm.toml and volumes_cosmoflow.toml, and a ResNet-50. A step takes a random batch from the device's memory,
standardises images, and does forward, backward and update. One line of JSON on stdout:
samples_per_second is the median of windows of at least half a second, after a warm-up. The environment (threads,
malloc, instruction set) is the caller's; tools/bench tries several and takes the best.
"""
import argparse
import json
import os
import statistics
import sys
import time

import numpy
import torch
from torch import nn
from torch.nn import functional

NETWORKS = ("mlp", "lenet", "resnet20", "resnet50", "gpt", "lstm", "conv3d")
WARM_UP_S = 1.5
WINDOW_S = 0.5


class Block(nn.Module):
    """A residual block of ResNet-20, with a projection where the shape changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = functional.relu(self.first_norm(self.first(x)), inplace=True)
        return functional.relu(self.second_norm(self.second(y)) + self.shortcut(x), inplace=True)


class Bottleneck(nn.Module):
    """A residual block of ResNet-50, with a projection where the shape changes."""

    def __init__(self, inputs, channels, stride):
        super().__init__()
        outputs = 4 * channels
        self.body = nn.Sequential(
            nn.Conv2d(inputs, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            nn.Conv2d(channels, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return functional.relu(self.body(x) + self.shortcut(x), inplace=True)


class Transformer(nn.Module):
    """A block of the language model; no biases but those of the norms."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.wide, self.narrow = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        n, length, width = x.shape
        q, k, v = (part.view(n, length, self.heads, -1).transpose(1, 2) for part in self.qkv(self.first_norm(x)).chunk(3, 2))
        gathered = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(gathered.transpose(1, 2).reshape(n, length, width))
        return x + self.narrow(functional.gelu(self.wide(self.second_norm(x))))


class Gpt(nn.Module):
    def __init__(self, tokens=65, length=64, width=128, heads=4, blocks=4):
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.positions = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.Sequential(*(Transformer(width, heads) for _ in range(blocks)))
        self.norm, self.scores = nn.LayerNorm(width), nn.Linear(width, tokens, bias=False)

    def forward(self, tokens):
        return self.scores(self.norm(self.blocks(self.embedding(tokens) + self.positions)))


class Sentiment(nn.Module):
    """An LSTM in both directions that ends where each sentence ends: packed by PyTorch, or two over padded sentences,
    the second over reversed ones, which may take another implementation."""

    def __init__(self, packed, words=20000, width=64, units=64):
        super().__init__()
        self.embedding, self.scores = nn.Embedding(words, width), nn.Linear(2 * units, 2)
        self.input_dropout, self.state_dropout = nn.Dropout(0.4), nn.Dropout(0.5)
        if packed:
            self.both = nn.LSTM(width, units, batch_first=True, bidirectional=True)
        else:
            self.both = None
            self.ahead, self.back = (nn.LSTM(width, units, batch_first=True) for _ in range(2))

    def states(self, x, lengths):
        if self.both is not None:
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.both(packed)[1][0].transpose(0, 1).flatten(1)
        reverse = (lengths[:, None] - 1 - torch.arange(x.shape[1])[None, :]).clamp(min=0)
        ends = (lengths - 1)[:, None, None]
        states = []
        for lstm, sequence in ((self.ahead, x), (self.back, x.gather(1, reverse[:, :, None].expand_as(x)))):
            outputs = lstm(sequence)[0]
            states.append(outputs.gather(1, ends.expand(-1, 1, outputs.shape[2]))[:, 0])
        return torch.cat(states, 1)

    def forward(self, sentences):
        tokens, lengths = sentences
        x = self.input_dropout(self.embedding(tokens))
        return self.scores(self.state_dropout(self.states(x, lengths)))


def build_conv3d(size):
    layers, inputs = [], 1
    for filters in (16, 32, 64, 128, 256):
        layers += [nn.Conv3d(inputs, filters, 3, padding=1), nn.LeakyReLU(inplace=True), nn.MaxPool3d(2)]
        inputs = filters
    layers.append(nn.Flatten())
    inputs *= (size // 32) ** 3
    for units in (128, 64):
        layers += [nn.Linear(inputs, units), nn.LeakyReLU(inplace=True)]
        inputs = units
    return nn.Sequential(*layers, nn.Linear(inputs, 4))


def build_resnet50():
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for channels, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            layers.append(Bottleneck(inputs, channels, stride if block == 0 else 1))
            inputs = 4 * channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


def build(network, arguments, batches):
    if network == "resnet50":
        return build_resnet50()
    if network == "lstm":
        return Sentiment(arguments.packed)
    if network == "conv3d":
        return build_conv3d(batches.inputs.shape[-1])
    if network == "gpt":
        return Gpt()
    if network == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(inplace=True),
                             nn.Linear(512, 256), nn.ReLU(inplace=True), nn.Linear(256, 10))
    if network == "lenet":
        return nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
                             nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(),
                             nn.Linear(64 * 7 * 7, 128), nn.ReLU(inplace=True), nn.Linear(128, 10))
    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    inputs = 16
    for outputs, stride in ((16, 1), (32, 2), (64, 2)):
        for block in range(3):
            layers.append(Block(inputs, outputs, stride if block == 0 else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def optimizer_of(network, mode, parameters):
    options = {} if mode == "default" else {mode: True}
    if network == "gpt":
        return torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, **options)
    if network.startswith("resnet"):
        return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4, **options)
    return torch.optim.Adam(parameters, lr=1e-3, **options)


class Batches:
    """Random batches of arrays in the device's memory, epoch by epoch."""

    def __init__(self, arrays, batch, device, inputs, targets):
        self.inputs, self.targets = (torch.from_numpy(numpy.load(os.path.join(arrays, name + ".npy")))
                                     for name in (inputs, targets))
        self.inputs, self.targets = self.inputs.to(device), self.targets.to(device)
        if not self.targets.is_floating_point():
            self.targets = self.targets.long()
        self.batch = batch

    def made(self, rows):
        """What the network gets of these rows."""
        return self.inputs[rows]

    def __iter__(self):
        while True:
            order = torch.randperm(len(self.targets), device=self.targets.device)
            for begin in range(0, len(order) // self.batch * self.batch or 1, self.batch):
                rows = order[begin:begin + self.batch]
                yield self.made(rows), self.targets[rows]


class Images(Batches):
    """Standardised per channel."""

    def __init__(self, arrays, batch, device, channels_last):
        super().__init__(arrays, batch, device, "images", "labels")
        if self.inputs.dim() == 3:
            self.inputs = self.inputs.unsqueeze(1)
        if channels_last:
            self.inputs = self.inputs.contiguous(memory_format=torch.channels_last)
        sample = self.inputs[:1000].float()
        self.mean = sample.mean((0, 2, 3), keepdim=True)
        self.factor = 1 / sample.std((0, 2, 3), keepdim=True)

    def made(self, rows):
        return self.inputs[rows].float().sub_(self.mean).mul_(self.factor)


class Volumes(Batches):
    """One channel of counts: their logarithms, standardised."""

    def __init__(self, arrays, batch, device, channels_last):
        super().__init__(arrays, batch, device, "volumes", "parameters")
        self.inputs = self.inputs.unsqueeze(1)
        self.format = torch.channels_last_3d if channels_last else torch.contiguous_format
        logarithms = self.inputs[:16].float().log1p()
        self.mean, self.factor = float(logarithms.mean()), 1 / float(logarithms.std())

    def made(self, rows):
        return self.inputs[rows].float().log1p_().sub_(self.mean).mul_(self.factor).contiguous(memory_format=self.format)


class Sentences(Batches):
    """Rows of tokens, cut to the longest of their batch, and their lengths."""

    def __init__(self, arrays, batch, device):
        super().__init__(arrays, batch, device, "tokens", "labels")
        self.lengths = torch.from_numpy(numpy.load(os.path.join(arrays, "lengths.npy"))).long()
        self.inputs = self.inputs.long()

    def made(self, rows):
        lengths = self.lengths[rows]
        return self.inputs[rows, :int(lengths.max())], lengths


class Windows:
    """Random windows of a text, and the tokens behind each of theirs."""

    def __init__(self, arrays, batch, device, length=64):
        tokens = torch.from_numpy(numpy.load(os.path.join(arrays, "tokens.npy")).astype(numpy.int64)).to(device)
        self.windows = tokens.unfold(0, length + 1, 1)
        self.batch = batch

    def __iter__(self):
        while True:
            windows = self.windows[torch.randint(len(self.windows), (self.batch,), device=self.windows.device)]
            yield windows[:, :-1], windows[:, 1:]


def batches_of(arguments, device):
    common = (arguments.arrays, arguments.batch, device)
    if arguments.network == "gpt":
        return Windows(*common)
    if arguments.network == "lstm":
        return Sentences(*common)
    return (Volumes if arguments.network == "conv3d" else Images)(*common, arguments.channels_last)


def measure(arguments):
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    device = torch.device(arguments.device)
    if arguments.precision == "tf32":
        torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = arguments.precision == "tf32"
    torch.backends.cudnn.benchmark = True
    language, volumes = arguments.network == "gpt", arguments.network == "conv3d"
    source = batches_of(arguments, device)
    batches = iter(source)
    model = build(arguments.network, arguments, source).to(device)
    if arguments.channels_last:
        model = model.to(memory_format=torch.channels_last_3d if volumes else torch.channels_last)
    optimizer = optimizer_of(arguments.network, arguments.optimizer, model.parameters())
    runnable = torch.compile(model) if arguments.compile else model
    loss_function = nn.MSELoss() if volumes else nn.CrossEntropyLoss()

    def step():
        inputs, labels = next(batches)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=arguments.precision == "bf16"):
            outputs = runnable(inputs)
            loss = loss_function(outputs.flatten(0, 1), labels.flatten()) if language else loss_function(outputs, labels)
        loss.backward()
        if language:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        # A copy from a GPU would wait for it in each step, which nobody needs.
        return loss.detach() if device.type == "cuda" else float(loss.detach()), len(labels)

    for _ in range(3):
        step()  # compiles, plans, allocates
    warm = time.perf_counter() + WARM_UP_S
    while time.perf_counter() < warm:
        step()
    rates, losses = [], []
    begin = window = time.perf_counter()
    samples = 0
    while window - begin < arguments.seconds or not rates:
        loss, count = step()
        losses.append(loss)
        samples += count
        now = time.perf_counter()
        if now - window >= WINDOW_S:
            if device.type == "cuda":
                torch.cuda.synchronize()
                now = time.perf_counter()
            rates.append(samples / (now - window))
            window, samples = now, 0
    return rates, losses


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--arrays", required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--optimizer", choices=["default", "foreach", "fused"], default="default")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--packed", action="store_true", help="lstm: packed sequences")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32")
    arguments = parser.parse_args()
    rates, losses = measure(arguments)
    print(json.dumps({"network": arguments.network, "torch": torch.__version__, "threads": arguments.threads,
                      "samples_per_second": statistics.median(rates), "windows": len(rates),
                      "first_loss": float(losses[0]), "last_loss": float(losses[-1]),
                      "cpu": getattr(torch.backends.cpu, "get_cpu_capability", lambda: "?")()
                      if hasattr(torch.backends, "cpu") else "?"}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
