# SPDX-License-Identifier: Apache-2.0
"""Networks in PyTorch, written out by hand, as tools/onnx_compare and tests/onnx/make_training.py export them: residual,
depthwise and plain convolutions, transformer encoders over tokens and over patches of images, a dense network. Widths are
small enough that 50 steps take seconds; dropout is off, because no two programs draw the same.
"""
import dataclasses

import torch
from torch import nn


def begin(model):
    """He et al. 2015 for convolutions, and branches of residual blocks that begin with 0 (Goyal et al. 2017). As PyTorch
    begins, networks of many batch norms are chaotic: within a few steps even PyTorch in float32 and in float64 part."""
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(part, Block):
            nn.init.zeros_(part.bn2.weight)
        if isinstance(part, Inverted) and part.adds:
            nn.init.zeros_(part.layers[-1].weight)


class Block(nn.Module):
    """Two convolutions around which the input is added (He et al. 2016)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """`large`: the stem for large images, 7 x 7 with stride 2 and a pool."""

    def __init__(self, blocks=(2, 2, 2, 2), width=64, large=True, classes=10):
        super().__init__()
        stem = [nn.Conv2d(3, width, 7, 2, 3, bias=False)] if large else [nn.Conv2d(3, width, 3, 1, 1, bias=False)]
        stem += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)] + ([nn.MaxPool2d(3, 2, 1)] if large else [])
        layers, inputs = [], width
        for stage, count in enumerate(blocks):
            outputs = width << stage
            for i in range(count):
                layers.append(Block(inputs, outputs, 2 if stage > 0 and i == 0 else 1))
                inputs = outputs
        self.stem, self.layers = nn.Sequential(*stem), nn.Sequential(*layers)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(inputs, classes)
        begin(self)

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(self.layers(self.stem(x))), 1))


class Inverted(nn.Module):
    """Wide inside, with a convolution for each channel by itself (Sandler et al. 2018)."""

    def __init__(self, inputs, outputs, stride, expand):
        super().__init__()
        wide = inputs * expand
        layers = []
        if expand != 1:
            layers += [nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(inplace=True)]
        layers += [nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide),
                   nn.ReLU6(inplace=True), nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.layers, self.adds = nn.Sequential(*layers), stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.layers(x) if self.adds else self.layers(x)


class MobileNetV2(nn.Module):
    STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, width=0.35, classes=10):
        super().__init__()

        def scaled(channels):
            return max(8, int(channels * width + 4) // 8 * 8)
        inputs = scaled(32)
        layers = [nn.Conv2d(3, inputs, 3, 2, 1, bias=False), nn.BatchNorm2d(inputs), nn.ReLU6(inplace=True)]
        for expand, channels, count, stride in self.STAGES:
            for i in range(count):
                layers.append(Inverted(inputs, scaled(channels), stride if i == 0 else 1, expand))
                inputs = scaled(channels)
        last = scaled(1280)
        layers += [nn.Conv2d(inputs, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU6(inplace=True)]
        self.features, self.classifier = nn.Sequential(*layers), nn.Sequential(nn.Dropout(0.0), nn.Linear(last, classes))
        begin(self)

    def forward(self, x):
        return self.classifier(self.features(x).mean([2, 3]))


class Vgg(nn.Module):
    """Eight convolutions in groups between pools, and dense layers (Simonyan and Zisserman 2015)."""

    def __init__(self, width=16, classes=10):
        super().__init__()
        layers, inputs = [], 3
        for outputs in (1, 0, 2, 0, 4, 4, 0, 8, 8, 0):
            if outputs == 0:
                layers.append(nn.MaxPool2d(2, 2))
                continue
            layers += [nn.Conv2d(inputs, outputs * width, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = outputs * width
        self.features, self.pool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(nn.Linear(inputs * 4, 128), nn.ReLU(True), nn.Dropout(0.0), nn.Linear(128, 128),
                                        nn.ReLU(True), nn.Dropout(0.0), nn.Linear(128, classes))

    def forward(self, x):
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


class Encoder(nn.Module):
    """Tokens and their places, layers of attention, and the mean of all places, or a class token's answer."""

    def __init__(self, vocabulary=50, length=24, width=64, heads=4, layers=2, first=False, activation="relu",
                 class_token=False, causal=False, classes=10):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, 0.0, activation, batch_first=True, norm_first=first)
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width) if first else None,
                                             enable_nested_tensor=False)
        self.class_token = nn.Parameter(torch.randn(1, 1, width) / 8) if class_token else None
        self.head, self.causal = nn.Linear(width, classes), causal
        for p in self.parameters():  # the layers of an encoder begin as copies of one
            if p.dim() > 1:
                nn.init.normal_(p, std=0.15)

    def forward(self, x):
        y = self.tokens(x) + self.places(torch.arange(x.shape[1], device=x.device))
        if self.class_token is not None:
            y = torch.cat([self.class_token.expand(x.shape[0], -1, -1), y], 1)
        mask = None
        if self.causal:
            mask = nn.Transformer.generate_square_subsequent_mask(y.shape[1], dtype=y.dtype)
        y = self.encoder(y, mask=mask, is_causal=self.causal)
        return self.head(y[:, 0] if self.class_token is not None else y.mean(1))


class VisionTransformer(nn.Module):
    """Patches of an image as tokens behind a class token (Dosovitskiy et al. 2021)."""

    def __init__(self, size=32, patch=8, width=48, heads=3, layers=2, classes=10):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.randn(1, 1, width) / 8)
        self.places = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width) / 8)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x):
        y = self.patches(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.class_token.expand(x.shape[0], -1, -1), y], 1) + self.places
        return self.head(self.norm(self.encoder(y))[:, 0])


def dense(inputs=32, width=64, classes=10):
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, width),
                         nn.GELU(approximate="tanh"), nn.Linear(width, classes))


@dataclasses.dataclass
class Network:
    make: callable
    shape: tuple
    vocabulary: int = 0  # of networks that take tokens
    rate: float = 0.01
    unit: int = 16       # batch norm takes its statistics from a unit, so there one is a batch
    opsets: tuple = (17,)


NETWORKS = {
    "mlp": Network(dense, (32,), rate=0.1, unit=5, opsets=(13, 17, 20)),
    "vgg": Network(Vgg, (3, 64, 64), unit=5),
    # A Relu whose input is 1e-7 apart from its kink may go either way. The larger networks meet that; then it must not matter.
    "resnet18": Network(ResNet, (3, 64, 64), rate=3e-4),
    "resnet18_cifar": Network(lambda: ResNet(width=16, large=False), (3, 32, 32), opsets=(13, 17)),
    "mobilenet_v2": Network(MobileNetV2, (3, 64, 64), rate=3e-4),
    "encoder": Network(Encoder, (24,), 50, unit=5, opsets=(14, 17)),
    "encoder_norm_first": Network(lambda: Encoder(first=True, activation="gelu", class_token=True), (24,), 50, unit=5,
                                  opsets=(17, 20)),
    "encoder_causal": Network(lambda: Encoder(causal=True), (24,), 50, unit=5),
    "vit": Network(VisionTransformer, (3, 32, 32), unit=5),
}
