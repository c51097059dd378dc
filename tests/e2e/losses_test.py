# SPDX-License-Identifier: Apache-2.0
"""Losses and metrics of classes, pixels, labels and counts: the same ledger, metrics and figures on 1, 2 and 3 ranks and on
the debug device, with ignored positions and weights of classes, and of several losses; what evaluate says is what scikit-learn and the formulas
say of predict's scores; the mean divides by what counts, also where nothing does."""
import json

import h5py
import numpy
from sklearn import metrics as sk

from common import in_parallel, make_deck, metrics, run, same_run, train
from common import ledger as ledger_of

TRAIN = """
[train]
epochs = 2
batch_size = 35
unit_size = 6
threads = 1
"""
NORMAL = """
  { type = "conv2d", filters = 8, kernel = 3, padding = "same", bias = false },
  { type = "batch_norm" },
  { type = "relu" },
"""
OPTIMIZER = '[optimizer]\ntype = "adam"\nlearning_rate = 0.02\n'
WEIGHTS = [0.3, 2, 1.5]
IGNORED = {"scenes/classes": 255, "table/three": -100}


def table(units):
    return f'[{{ type = "dense", units = 8, activation = "tanh" }}, {{ type = "dense", units = {units} }}]'


PIXELS = "[" + NORMAL + '{ type = "conv2d", filters = 3, kernel = 3, padding = "same" }]'
MASK = "[" + NORMAL + '{ type = "conv2d", filters = 1, kernel = 3, padding = "same" }, { type = "flatten" }]'
BINARY, MACRO = ["precision", "recall", "f1", "mean_iou", "auc"], ["macro_precision", "macro_recall", "macro_f1", "mean_iou"]
# name: inputs, targets, layers, loss, metrics, further keys
CASES = {
    "entropy": ("scenes/images", "scenes/classes", PIXELS, "softmax_cross_entropy", MACRO,
                {"model.class_weights": WEIGHTS, "data.ignored_class": 255, "evaluation.top_k": 2}),
    "dice": ("scenes/images", "scenes/classes", PIXELS, "softmax_dice", MACRO, {"data.ignored_class": 255}),
    "focal": ("scenes/images", "scenes/classes", PIXELS, "softmax_focal", MACRO,
              {"data.ignored_class": 255, "model.focal_gamma": 1.5, "evaluation.metric": "mean_iou"}),
    "mask": ("scenes/images", "scenes/mask", MASK, "binary_dice", BINARY, {"model.dice_smooth": 0.5}),
    "rare": ("table/x", "table/rare", table(1), "binary_focal", BINARY,
             {"model.focal_alpha": 0.75, "evaluation.metric": "auc"}),
    "two": ("table/x", "table/rare", table(2), "softmax_cross_entropy", BINARY, {"optimizer.clip_norm": 0.5}),
    "margin": ("table/x", "table/three", table(3), "multiclass_hinge", MACRO,
               {"model.class_weights": WEIGHTS, "data.ignored_class": -100}),
    "signs": ("table/x", "table/signs", table(1), "binary_hinge", BINARY, {}),
    "counts": ("table/x", "table/counts", table(1), "poisson", [], {}),
}


def make_data():
    random = numpy.random.default_rng(5)
    images, mask = random.normal(size=(97, 8, 8)).astype("f4"), numpy.zeros((97, 8, 8), "u1")
    for i, (r, c) in enumerate(random.integers(0, 5, (97, 2))):
        mask[i, r:r + 3, c:c + 4] = 1
    images += 2 * mask
    classes = mask * (1 + (images > 3)).astype("u1")  # 2 is seldom
    classes[random.random(classes.shape) < 0.2] = 255
    classes[:40] = 255  # whole samples; with batches of 35 in order, a whole batch
    x = random.normal(size=(211, 6)).astype("f4")
    score = x[:, 0] - x[:, 1] + 0.5 * random.normal(size=211)
    three = numpy.digitize(score, [-0.5, 0.8]).astype("i2")
    three[::7] = -100
    with h5py.File("data.h5", "w") as file:
        file["scenes/images"], file["scenes/classes"], file["scenes/mask"] = images, classes, mask
        file["table/x"], file["table/three"] = x, three
        file["table/rare"] = (score > 1.2).astype("u1")
        file["table/signs"] = numpy.where(score > 0, 1, -1).astype("i1")
        file["table/counts"] = random.poisson(numpy.exp(0.5 * score)).astype("u4")
        for group in ("scenes", "table"):
            file.copy(group, f"test/{group}")
    with h5py.File("texts.h5", "w") as file:  # rows with lengths of their own: their kind, and how often a 3 is in them
        text, lengths = random.integers(0, 6, (111, 9)), random.integers(1, 10, 111)
        valid = numpy.arange(9) < lengths[:, None]
        file["x"], file["lengths"] = text.astype("u1"), lengths.astype("i4")
        file["kind"] = ((text * valid).max(1) // 2).astype("i4")
        file["threes"] = ((text == 3) & valid).sum(1).astype("f4")


def make_case(name):
    inputs, targets, layers, loss, names, more = CASES[name]
    data = (f'[data]\nfile = "data.h5"\nshuffle = "none"\ntrain = {{ inputs = "{inputs}", targets = "{targets}" }}\n'
            f'test = {{ inputs = "test/{inputs}", targets = "test/{targets}" }}\n')
    make_deck(f"{name}.toml", data=data, network=f'[model]\nloss = "{loss}"\nlayers = {layers}\n{OPTIMIZER}', train=TRAIN)
    return {"evaluation.metrics": json.dumps(names), **more}


def evaluated(name, sets, **how):
    return run("evaluate", f"{name}.toml", "--json", sets={**sets, "run.dir": name}, **how).out


def softmax(z):
    e = numpy.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def class_losses(name, z, t, sets):
    """Of each position that counts: its loss and its weight; or of each sample, for dice."""
    weights = numpy.array(sets.get("model.class_weights", [1] * z.shape[-1]))
    kept = t != IGNORED.get(CASES[name][1], 256)
    if name == "dice":
        p, losses = softmax(z), []
        for i in numpy.flatnonzero(kept.reshape(len(t), -1).any(axis=1)):
            q, hot = p[i][kept[i]], numpy.eye(3)[t[i][kept[i]]]
            losses.append(1 - numpy.mean((2 * (q * hot).sum(0) + 1) / ((q * q).sum(0) + hot.sum(0) + 1)))
        return numpy.array(losses), numpy.ones(len(losses))
    z, t = z[kept], t[kept]
    own = numpy.take_along_axis(z, t[:, None], 1)[:, 0]
    if name == "margin":
        rivals = z.copy()
        numpy.put_along_axis(rivals, t[:, None], -numpy.inf, 1)
        return numpy.maximum(0, 1 + rivals.max(1) - own), weights[t]
    p = numpy.take_along_axis(softmax(z), t[:, None], 1)[:, 0]
    power = (1 - p) ** sets["model.focal_gamma"] if name == "focal" else 1
    return -power * numpy.log(p), weights[t]


def label_losses(name, z, t):
    p = 1 / (1 + numpy.exp(-z))
    if name == "mask":
        return 1 - (2 * (p * t).sum(1) + 0.5) / ((p * p).sum(1) + t.sum(1) + 0.5)
    if name == "signs":
        return numpy.maximum(0, 1 - t * z)
    if name == "counts":
        return numpy.exp(z) - t * z
    pt = numpy.where(t > 0, p, 1 - p)
    return -numpy.where(t > 0, 0.75, 0.25) * (1 - pt) ** 2 * numpy.log(pt)


def expect(name, said, **figures):
    for key, want in figures.items():
        assert abs(said[key] - want) < 2e-5 * max(1, abs(want)), f"{name}: {key} is {said[key]}, not {want}"


def check_figures(name, sets, said):
    """Against scikit-learn and the formulas, from predict's scores."""
    inputs, targets = CASES[name][:2]
    run("predict", f"{name}.toml", "--inputs", f"data.h5:{inputs}", "--output", f"{name}.h5", sets={**sets, "run.dir": name})
    with h5py.File(f"{name}.h5") as file, h5py.File("data.h5") as data:
        z, t = file["scores"][:].astype("f8"), data[targets][:].astype(int)
        said_classes = file["classes"][:] if "classes" in file else None
    if name in ("mask", "rare", "signs", "counts"):
        z, t = z.reshape(len(z), -1), t.reshape(len(t), -1)
        expect(name, said, loss=label_losses(name, z, t).mean())
        if name == "counts":
            return expect(name, said, mae=abs(numpy.exp(z) - t).mean())
        assert (said_classes.reshape(z.shape) == (z > 0)).all(), "classes of predict"
        truth, guess, score = (t > 0).ravel(), (z > 0).ravel(), z.ravel()
    else:
        losses, weights = class_losses(name, z, t, sets)
        expect(name, said, loss=(losses * weights).sum() / weights.sum())
        kept = t != IGNORED.get(targets, 256)
        z, truth = z[kept], t[kept]
        guess, score = z.argmax(1), z[:, 1] - z[:, 0]
        top = sets.get("evaluation.top_k", 5)
        expect(name, said, **{f"top{top}": (numpy.argsort(-z, axis=1, kind="stable")[:, :top] == truth[:, None]).any(1).mean()})
    expect(name, said, accuracy=(truth == guess).mean())
    how = {"average": "binary" if "f1" in said else "macro", "zero_division": 0}
    for key, function in {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}.items():
        expect(name, said, **{key if "f1" in said else "macro_" + key: function(truth, guess, **how)})
    expect(name, said, mean_iou=sk.jaccard_score(truth, guess, average="macro", zero_division=0))
    if "auc" in said:
        assert abs(said["auc"] - sk.roc_auc_score(truth, score)) < 2e-3, f"{name}: auc {said['auc']}"
    print(name, {key: round(value, 4) for key, value in said.items() if isinstance(value, float)})


def same_everywhere(name):
    sets = make_case(name)
    reference = train(name, deck=f"{name}.toml", sets=sets)
    for i, how in enumerate(({"ranks": 2}, {"ranks": 3, "per_node": 1}, {"ranks": 2, "per_node": 1, "device": "debug"})):
        device = how.pop("device", "cpu")
        result = train(f"{name}-{i}", deck=f"{name}.toml", sets={**sets, "train.device": device}, **how)
        same_run(f"{name}-{i}", name, str(how))
        assert result.hash() == reference.hash(), result.told("other parameters")
        assert metrics(f"{name}-{i}", "test") == metrics(name, "test"), f"{name} {how}: other metrics"
    said = evaluated(name, sets)
    for how, device in (({"ranks": 2}, "cpu"), ({"ranks": 3, "per_node": 1}, "cpu"), ({"ranks": 2, "per_node": 1}, "debug")):
        other = evaluated(name, {**sets, "train.device": device}, **how)
        assert other == said, f"{name} {how} {device}: other figures\n{said}{other}"
    said = json.loads(said)
    during = metrics(name, "test")[-1]
    for key in [*CASES[name][4], "loss"]:
        assert said[key] == during[key], f"{name}: {key} in evaluate and in training"
    for key in CASES[name][4]:
        assert key in run("evaluate", f"{name}.toml", sets={**sets, "run.dir": name}).out
    check_figures(name, sets, said)


def fields(directory):
    return [dict(word.split("=", 1) for word in line.split()) for line in ledger_of(directory)]


def the_mean_divides_by_what_counts():
    """The first batch holds nothing that counts: nothing changes, and nothing is divided by 0. Then the sum of weights."""
    with h5py.File("data.h5") as file:
        t = file["scenes/classes"][:].reshape(97, -1)
    weights = numpy.array([*WEIGHTS, *[0] * 253])[t].sum(axis=1)
    lines = fields("entropy")
    for step, (begin, end) in enumerate([(0, 35), (35, 70), (70, 97)]):
        assert abs(float(lines[step]["weight"]) - weights[begin:end].sum()) < 1e-9, lines[step]
    assert float(lines[0]["weight"]) == float(lines[0]["loss"]) == 0, lines[0]
    assert [float(line["weight"]) for line in fields("dice")][:3] == [0, 30, 27]  # samples
    sets = make_case("margin")
    of_four = {**sets, "model.class_weights": [4 * w for w in WEIGHTS]}
    assert train("scaled", deck="margin.toml", sets=of_four).hash() == train("margin", deck="margin.toml", sets=sets).hash()
    # A class without weight trains as one that is ignored, to the bit.
    make_case("two")
    sets = {"data.train.targets": "table/rare", "optimizer.type": "sgd"}
    train("ignored", deck="two.toml", sets={**sets, "data.ignored_class": 0})
    train("weightless", deck="two.toml", sets={**sets, "model.class_weights": [0, 1]})
    same_run("ignored", "weightless")


def safetensors(path):
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header, data = json.loads(file.read(size)), file.read()
    return {name: numpy.frombuffer(data[slice(*told["data_offsets"])], "f4") for name, told in header.items()
            if name != "__metadata__"}


def running_statistics_are_of_samples():
    """Whatever the sum of weights is. With momentum 0 they are those of the last step."""
    sets = make_case("entropy")
    layers = PIXELS.replace(NORMAL, '{ type = "batch_norm", momentum = 0.0 }, ')
    train("statistics", deck="entropy.toml", sets={**sets, "model.layers": layers})
    model = safetensors("statistics/model.safetensors")
    with h5py.File("data.h5") as file:
        last = file["scenes/images"][70:97]
    assert abs(model["batch_norm_1.running_mean"] - last.mean()) < 1e-5, model
    assert abs(model["batch_norm_1.running_var"] - last.var()) < 0.1, model


SEVERAL = """
[data]
file = "texts.h5"
train = { inputs = { text = "x" }, lengths = { text = "lengths" }, targets = { kind = "kind", threes = "threes" }, rows = [0, 80] }
test = { rows = [80, 111] }
[model]
layers = [
  { type = "embedding", rows = 6, width = 8, init_deviation = 0.5 },
  { type = "transformer_block", heads = 2, from = ["embedding_1", "text.length"] },
  { type = "global_max_pool1d", from = ["transformer_block_1", "text.length"] },
  { type = "dense", units = 3, name = "kind" },
  { type = "global_avg_pool1d", from = ["transformer_block_1", "text.length"] },
  { type = "dense", units = 1, name = "threes" },
]
losses = [
  { from = "kind", target = "kind", type = "softmax_cross_entropy" },
  { from = "threes", target = "threes", type = "mse", weight = 0.25 },
  { from = "threes", target = "threes", type = "huber", huber_delta = 0.5, weight = 0.125, name = "robust" },
]
"""


def several_losses():
    """Of rows that end where their length says: the same run everywhere; figures by name are those of predict's outputs."""
    make_deck("several.toml", data="", network=SEVERAL + OPTIMIZER, train=TRAIN)
    reference = train("several", deck="several.toml")
    for i, how in enumerate(({"ranks": 2}, {"ranks": 3, "per_node": 1}, {"ranks": 2, "per_node": 1, "device": "debug"})):
        device = how.pop("device", "cpu")
        result = train(f"several-{i}", deck="several.toml", sets={"train.device": device}, **how)
        same_run(f"several-{i}", "several", str(how))
        assert result.hash() == reference.hash(), result.told("other parameters")
        assert metrics(f"several-{i}", "test") == metrics("several", "test"), f"{how}: other metrics"
    run("predict", "several.toml", "--inputs", "texts.h5:text=x,text.lengths=lengths", "--output", "several.h5",
        ranks=2, sets={"run.dir": "several"})
    with h5py.File("several.h5") as file, h5py.File("texts.h5") as data:
        names = {"kind.scores", "kind.classes", "threes.scores", "robust.scores"}
        assert set(file) == names, set(file)
        z, classes, guess = (file[name][80:] for name in ("kind.scores", "kind.classes", "threes.scores"))
        kind, threes = data["kind"][80:], data["threes"][80:]
    error = abs(guess[:, 0].astype("f8") - threes)
    entropy = -numpy.log(softmax(z.astype("f8"))[numpy.arange(31), kind]).mean()
    robust = numpy.where(error < 0.5, error ** 2 / 2, 0.5 * (error - 0.25)).mean()
    figures = {"loss": entropy + 0.25 * (error ** 2).mean() + 0.125 * robust, "kind.loss": entropy, "robust.loss": robust,
               "kind.accuracy": (classes == kind).mean(), "threes.mae": error.mean()}
    for said in (metrics("several", "test")[-1], json.loads(evaluated("several", {}))):
        expect("several", said, **figures)
    for line in fields("several"):
        parts = [float(line[f"loss.{name}"]) for name in ("kind", "threes", "robust")]
        assert abs(float(line["loss"]) - parts[0] - parts[1] / 4 - parts[2] / 8) < 1e-9, line
    assert "kind.accuracy" in run("evaluate", "several.toml", sets={"run.dir": "several"}).out
    assert "kind classes" in run("check", "several.toml").out


def refused():
    make_case("two")
    for sets, text in (({"model.loss": "softmax_dice"}, "softmax_dice compares areas"),
                       ({"model.class_weights": [1, 2, 3]}, "3 weights, but the network gives scores of 2 classes"),
                       ({"model.loss": "binary_dice", "model.layers": table(1)}, "binary_dice compares areas"),
                       ({"data.train.targets": "table/three", "data.ignored_class": -100, "model.layers": table(3),
                         "evaluation.metrics": '["f1"]'}, "Take macro_f1"),
                       ({"evaluation.metrics": '["f2"]'}, 'Did you mean "f1"'),
                       ({"model.loss": "mse", "evaluation.metrics": '["f1"]'}, "evaluation.metrics")):
        for command in ("train", "check") if "f2" not in str(sets) else ("train",):
            result = run(command, "two.toml", ranks=2 if command == "train" else None,
                         sets={"run.dir": "refused", "data.test.targets": "test/" + sets.get("data.train.targets", "table/rare"),
                               **sets}, code=78)
            assert text in " ".join(result.err.split()) and len(result.errors()) == 1, result.told(text)


def main():
    make_data()
    in_parallel(same_everywhere, [(name,) for name in CASES])
    the_mean_divides_by_what_counts()
    running_statistics_are_of_samples()
    several_losses()
    refused()


main()
