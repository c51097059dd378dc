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
    default:
      return "auto";
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
  const size_t rank = layout == ImageLayout::none ? shape.size() : layout == ImageLayout::hw ? 3 : 4;
  REQUIRE(shape.size() == rank, Exit::data, inputs.file + ":" + inputs.path,
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
    default:
      return {{element_count(Shape(shape.begin() + 1, shape.end()))}, ImageLayout::none};
  }
}

TargetSchema target_schema(const storage::ArrayInfo& targets, const DataSpec& spec) {
  const Shape row(targets.shape.begin() + 1, targets.shape.end());
  const int64_t values = element_count(row);
  const std::string where = targets.file + ":" + targets.path;
  TargetKind kind = spec.target_kind;
  const bool ids = values == 1 || targets.windows.length > 0 || row.size() > 1;
  if (kind == TargetKind::automatic)
    kind = !spec.needs_classes ? TargetKind::values : ids ? TargetKind::classes : TargetKind::one_hot;
  REQUIRE(!(kind == TargetKind::values && spec.needs_classes), Exit::deck, spec.position.text(),
          "the loss needs class ids, but data.targets says that targets are values",
          "Choose another loss, or targets = \"classes\" or \"one_hot\".");
  if (kind == TargetKind::values) return {kind, values};
  if (kind == TargetKind::classes) return {kind, spec.classes, values};
  REQUIRE(row.size() == 1 && values > 1, Exit::data, where,
          "one-hot targets have shape [N, classes], this array has " + shape_text(targets.shape),
          spec.target_kind == TargetKind::automatic
              ? "The loss needs class ids: one number per row, or one-hot rows."
              : "");
  REQUIRE(spec.classes == 0 || spec.classes == values, Exit::data, where,
          "one-hot rows of " + std::to_string(values) +
              " values, but data.classes = " + std::to_string(spec.classes),
          "");
  return {kind, values};
}

}  // namespace lepton::data
