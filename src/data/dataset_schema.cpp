// SPDX-License-Identifier: Apache-2.0
// Rules for shapes of inputs and kinds of targets.
#include "data/dataset_schema.h"

namespace lepton::data {

namespace {

const char* layout_name(ImageLayout layout) {
  switch (layout) {
    case ImageLayout::hwc:
      return "hwc";
    case ImageLayout::chw:
      return "chw";
    case ImageLayout::hw:
      return "hw";
    case ImageLayout::none:
      return "none";
    case ImageLayout::cdhw:
      return "cdhw";
    case ImageLayout::dhwc:
      return "dhwc";
    case ImageLayout::dhw:
      return "dhw";
    case ImageLayout::sequence:
      return "sequence";
    default:
      return "auto";
  }
}

/// Dimensions of an array with this layout; 0: any.
size_t rank_of(ImageLayout layout) {
  switch (layout) {
    case ImageLayout::hw:
      return 3;
    case ImageLayout::hwc:
    case ImageLayout::chw:
    case ImageLayout::dhw:
      return 4;
    case ImageLayout::cdhw:
    case ImageLayout::dhwc:
      return 5;
    default:
      return 0;
  }
}

constexpr int64_t channels_max_guess = 4;  // grey, grey + alpha, rgb, rgb + alpha

ImageLayout guess_layout(const storage::ArrayInfo& inputs) {
  const Shape& shape = inputs.shape;
  if (shape.size() == 3) return ImageLayout::hw;
  if (shape.size() != 4) return ImageLayout::none;
  if (shape[1] <= channels_max_guess) return ImageLayout::chw;
  if (shape[3] <= channels_max_guess) return ImageLayout::hwc;
  fail(Exit::data, inputs.file + ":" + inputs.path,
       "rows of shape " + shape_text(Shape(shape.begin() + 1, shape.end())) +
           " could be [channels, height, width] or [height, width, channels]",
       "Set data.layout to \"chw\", \"hwc\" or \"none\".");
}

}  // namespace

InputSchema input_schema(const storage::ArrayInfo& inputs, ImageLayout wanted) {
  const Shape& shape = inputs.shape;
  const ImageLayout layout = wanted == ImageLayout::automatic ? guess_layout(inputs) : wanted;
  if (layout == ImageLayout::sequence) return ragged_schema(inputs, layout);
  const size_t rank = rank_of(layout);
  REQUIRE(rank == 0 || shape.size() == rank, Exit::data, inputs.file + ":" + inputs.path,
          "data.layout = \"" + std::string(layout_name(layout)) + "\" needs an array of rank " +
              std::to_string(rank) + ", this one has shape " + shape_text(shape),
          "Set data.layout to what the array holds, or remove it.");
  switch (layout) {
    case ImageLayout::hw:
      return {{1, shape[1], shape[2]}, layout};
    case ImageLayout::chw:
      return {{shape[1], shape[2], shape[3]}, layout};
    case ImageLayout::hwc:
      return {{shape[3], shape[1], shape[2]}, layout};
    case ImageLayout::dhw:
      return {{1, shape[1], shape[2], shape[3]}, layout};
    case ImageLayout::cdhw:
      return {{shape[1], shape[2], shape[3], shape[4]}, layout};
    case ImageLayout::dhwc:
      return {{shape[4], shape[1], shape[2], shape[3]}, layout};
    default:
      return {{element_count(Shape(shape.begin() + 1, shape.end()))}, ImageLayout::none};
  }
}

InputSchema ragged_schema(const storage::ArrayInfo& inputs, ImageLayout wanted) {
  const Shape& shape = inputs.shape;
  REQUIRE(wanted == ImageLayout::automatic || wanted == ImageLayout::sequence, Exit::deck,
          inputs.file + ":" + inputs.path,
          "its rows have lengths of their own, which goes with layout = \"sequence\" only, not \"" +
              std::string(layout_name(wanted)) + "\"",
          "Leave layout out.");
  REQUIRE(
      shape.size() >= 2, Exit::data, inputs.file + ":" + inputs.path,
      "data.layout = \"sequence\" needs an array of rank 2 or more, this one has shape " + shape_text(shape),
      "Set data.layout to what the array holds, or remove it.");
  if (shape.size() == 2) return {{shape[1]}, ImageLayout::sequence};
  return {{shape[1], element_count(Shape(shape.begin() + 2, shape.end()))}, ImageLayout::sequence};
}

InputSchema after_transforms(InputSchema schema, const std::vector<Transform>& transforms,
                             const std::string& where) {
  for (const Transform& transform : transforms) {
    if (transform.kind != Transform::Kind::one_hot) continue;
    Shape& shape = schema.shape;
    const bool points = shape.size() >= 3, one_value = points ? shape[0] == 1 : shape.size() == 1;
    REQUIRE(one_value, Exit::deck, where,
            "one_hot takes one class at each place, but samples are " + shape_text(shape),
            "It goes with features, sequences of classes, and images of one channel, once.");
    if (points || shape == Shape{1}) {
      shape[0] = transform.classes;
    } else {
      shape.push_back(transform.classes);
      schema.layout = ImageLayout::sequence;
    }
  }
  return schema;
}

Shape after_crop(const Shape& shape, const std::vector<Transform>& transforms, const std::string& where) {
  Shape cut = shape;
  for (const Transform& transform : transforms) {
    const std::vector<int64_t>& size = transform.size;
    if (size.empty() || shape.size() < 3)
      continue;  // what has no points is refused with all random transforms
    REQUIRE(size.size() == 1 || size.size() == shape.size() - 1, Exit::deck, where,
            "random_crop has a size of " + std::to_string(size.size()) + " sides, samples are " +
                shape_text(shape),
            "Give one number for all sides, or one for each: height and width, of volumes depth first.");
    for (size_t side = 1; side < shape.size(); ++side) {
      cut[side] = size.size() == 1 ? size[0] : size[side - 1];
      REQUIRE(cut[side] <= shape[side], Exit::deck, where,
              "random_crop is to leave " + std::to_string(cut[side]) + " points of a side, samples are " +
                  shape_text(shape),
              "Evaluation takes the middle of each sample, so that must not be smaller.");
    }
  }
  return cut;
}

TargetSchema target_schema(const storage::ArrayInfo& targets, const TargetRules& rules,
                           const SourcePosition& position) {
  const Shape row(targets.shape.begin() + 1, targets.shape.end());
  const int64_t values = element_count(row);
  const std::string where = targets.file + ":" + targets.path;
  TargetKind kind = rules.kind;
  const bool ids = values == 1 || targets.windows.length > 0 || row.size() > 1;
  if (kind == TargetKind::automatic)
    kind = !rules.needs_classes ? TargetKind::values : ids ? TargetKind::classes : TargetKind::one_hot;
  REQUIRE(!(kind == TargetKind::values && rules.needs_classes), Exit::deck, position.text(),
          "the loss needs class ids, but data.targets says that targets are values",
          "Choose another loss, or targets = \"classes\" or \"one_hot\".");
  if (kind == TargetKind::values) return {kind, values};
  if (kind == TargetKind::classes) return {kind, rules.classes, values};
  REQUIRE(row.size() == 1 && values > 1, Exit::data, where,
          "one-hot targets have shape [N, classes], this array has " + shape_text(targets.shape),
          rules.kind == TargetKind::automatic
              ? "The loss needs class ids: one number per row, or one-hot rows."
              : "");
  REQUIRE(rules.classes == 0 || rules.classes == values, Exit::data, where,
          "one-hot rows of " + std::to_string(values) +
              " values, but data.classes = " + std::to_string(rules.classes),
          "");
  return {kind, values};
}

}  // namespace lepton::data
