# SPDX-License-Identifier: Apache-2.0
"""Networks in PyTorch, written out by hand, as tools/onnx_compare and tests/onnx/make_training.py export them: residual,
depthwise and plain convolutions, transformers over tokens, patches and windows of images, recurrent ones, embeddings of
columns, a U-Net, a dense network: each written as papers' authors or tutorials do, for that is what exporters meet. Widths
are small enough that 50 steps take seconds; dropout is off, because no two programs draw the same.
"""
import dataclasses

import torch
import torch.nn.functional as F
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


class GptBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.first, self.second = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.all, self.joined = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.wide, self.back = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        self.heads = heads

    def forward(self, x):
        samples, length, width = x.size()
        q, k, v = (part.view(samples, length, self.heads, width // self.heads).transpose(1, 2)
                   for part in self.all(self.first(x)).split(width, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.joined(y.transpose(1, 2).contiguous().view(samples, length, width))
        return x + self.back(F.gelu(self.wide(self.second(x))))


class Gpt(nn.Module):
    """Without biases, the table of tokens tied to the head, which sees the last place alone (Radford et al. 2019)."""

    def __init__(self, vocabulary=10, length=16, width=32, heads=4, layers=2):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(GptBlock(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width, bias=False), nn.Linear(width, vocabulary, bias=False)
        self.tokens.weight = self.head.weight
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.15)

    def forward(self, x):
        y = self.tokens(x) + self.places(torch.arange(0, x.size(1), dtype=torch.long))
        for block in self.blocks:
            y = block(y)
        return self.head(self.norm(y)[:, [-1], :]).squeeze(1)


class ConvNext(nn.Module):
    """A block of Liu et al. 2022: layers over the channels of each pixel, which stand last meanwhile."""

    def __init__(self, width=16, classes=10):
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, width, 4, 4), nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.wide, self.back = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(0.1 * torch.ones(width))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.stem(x)
        y = self.back(F.gelu(self.wide(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))))
        return self.head((x + (self.scale * y).permute(0, 3, 1, 2)).mean([-2, -1]))


class WindowAttention(nn.Module):
    """Attention in shifted windows of 4 x 4 (Liu et al. 2021)."""

    def __init__(self, width=16, heads=2, classes=10):
        super().__init__()
        self.patches, self.all = nn.Conv2d(3, width, 2, 2), nn.Linear(width, 3 * width)
        self.joined, self.head, self.heads = nn.Linear(width, width), nn.Linear(width, classes), heads

    def forward(self, x):
        y = self.patches(x).permute(0, 2, 3, 1)
        samples, high, wide, width = y.shape
        w = torch.roll(y, (-2, -2), (1, 2)).view(samples, high // 4, 4, wide // 4, 4, width)
        w = w.permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, width)
        q, k, v = self.all(w).reshape(-1, 16, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        shares = (q * (width // self.heads) ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
        w = self.joined((shares @ v).transpose(1, 2).reshape(-1, 16, width))
        w = w.view(samples, high // 4, wide // 4, 4, 4, width).permute(0, 1, 3, 2, 4, 5)
        return self.head((y + torch.roll(w.reshape(samples, high, wide, width), (2, 2), (1, 2))).mean((1, 2)))


class Unet(nn.Module):
    """One level, padded where halves were cut (Ronneberger et al. 2015), and a PixelShuffle (Shi et al. 2016)."""

    def __init__(self, width=8, classes=10):
        super().__init__()
        self.down, self.middle = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.up, self.end = nn.ConvTranspose2d(width, width, 2, 2), nn.Conv2d(2 * width, 4 * classes, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x):
        skipped = F.relu(self.down(x))
        y = self.up(F.relu(self.middle(F.max_pool2d(skipped, 2))))
        rows, columns = skipped.size(2) - y.size(2), skipped.size(3) - y.size(3)
        y = F.pad(y, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        return self.shuffle(self.end(torch.cat([skipped, y], 1))).mean((2, 3))


class TextCnn(nn.Module):
    """Filters of several widths, the largest answer of each in all of the text (Kim 2014)."""

    def __init__(self, vocabulary=50, width=8, filters=6, classes=10):
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.filters = nn.ModuleList(nn.Conv1d(width, filters, size) for size in (3, 4, 5))
        self.head = nn.Linear(3 * filters, classes)

    def forward(self, x):
        y = [F.relu(filters(self.words(x).transpose(1, 2))) for filters in self.filters]
        return self.head(torch.cat([F.max_pool1d(one, one.shape[2]).squeeze(2) for one in y], 1))


class Masked(nn.Module):
    """Tokens of which 0 is none: attention by a mask of truth values, and the mean of the others."""

    def __init__(self, vocabulary=12, width=16, heads=2, classes=10):
        super().__init__()
        self.words, self.all = nn.Embedding(vocabulary, width), nn.Linear(width, 3 * width)
        self.head, self.heads = nn.Linear(width, classes), heads

    def forward(self, x):
        y, seen = self.words(x), x != 0
        samples, length, width = y.shape
        q, k, v = self.all(y).view(samples, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None, :])
        y, counted = y.transpose(1, 2).reshape(samples, length, width), seen.unsqueeze(-1).float()
        return self.head((y * counted).sum(1) / counted.sum(1).clamp(min=1))


class Columns(nn.Module):
    """A table for each column of a row, and vectors of length 1."""

    def __init__(self, columns=4, values=6, width=5, classes=10):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(values + i, width) for i in range(columns))
        self.bias, self.dense = nn.Embedding(values, 1), nn.Linear(columns * width, 32)
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        y = torch.cat([table(x[:, i]) for i, table in enumerate(self.tables)], 1)
        y = F.relu(self.dense(F.normalize(y))) + torch.sigmoid(self.bias(x[:, 0]).squeeze(-1)).unsqueeze(1)
        return self.head(y)


class Recurrent(nn.Module):
    """Two layers in both directions, of which the last states count."""

    def __init__(self, kind=nn.LSTM, vocabulary=50, width=8, classes=10):
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.layers = kind(width, width, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x):
        state = self.layers(self.words(x))[1]
        state = state[0] if isinstance(state, tuple) else state
        return self.head(torch.cat([state[-2], state[-1]], 1))


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
    "gpt": Network(Gpt, (16,), 10, unit=5),
    "convnext": Network(ConvNext, (3, 32, 32), unit=5),
    "windows": Network(WindowAttention, (3, 16, 16), unit=5),
    "unet": Network(Unet, (3, 9, 11), unit=5),
    "text_cnn": Network(TextCnn, (300,), 50, unit=5),
    "masked": Network(Masked, (10,), 12, unit=5),
    "columns": Network(Columns, (4,), 6, unit=5),
    "lstm": Network(Recurrent, (9,), 50, unit=5),
    "gru": Network(lambda: Recurrent(nn.GRU), (9,), 50, unit=5),
}
