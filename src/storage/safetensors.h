// SPDX-License-Identifier: Apache-2.0
// The safetensors format (huggingface/safetensors, README "Format"): 8 bytes little-endian header length, a
// JSON header {name: {dtype, shape, data_offsets}}, then the bytes; header padded with spaces to a multiple
// of 8. float32 only.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "tensor/shape.h"

namespace lepton::storage {

struct NamedTensor {
  std::string name;
  Shape shape;
  std::span<const float> values;
};

/// Writes durably by rename. Tensors keep their order; metadata goes to "__metadata__".
void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata);

struct SafetensorsFile {
  struct Entry {
    Shape shape;
    std::vector<float> values;
  };
  std::map<std::string, Entry> tensors;
  std::map<std::string, std::string> metadata;
};
/// Throws Error(data) on anything that the format forbids: bad length, overlapping or missing ranges, other
/// dtypes.
SafetensorsFile read_safetensors(const std::string& path);

}  // namespace lepton::storage
