// SPDX-License-Identifier: Apache-2.0
// Reading and writing of the safetensors format. The reader trusts nothing: lengths are checked against the
// file before anything is allocated, and every byte behind the header must belong to exactly one tensor.
#include "storage/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "storage/file.h"

namespace lepton::storage {

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian, and so is Lepton");

namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void refuse_file(const std::string& path, const std::string& what) {
  fail(Exit::data, path, what, "The file is damaged or no safetensors file; Lepton reads dtype F32.");
}

struct Range {
  uint64_t begin, end;
  std::string name;
};

/// One header entry, checked against its own shape.
Range read_entry(const std::string& path, const std::string& name, const Json& entry, Shape& shape) {
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets"))
    refuse_file(path, "tensor \"" + name + "\" lacks dtype, shape or data_offsets");
  if (entry["dtype"] != "F32")
    refuse_file(path, "tensor \"" + name + "\" has dtype " + entry["dtype"].dump());
  const Json& offsets = entry["data_offsets"];
  if (!entry["shape"].is_array() || !offsets.is_array() || offsets.size() != 2 ||
      !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned())
    refuse_file(path, "tensor \"" + name + "\" has no valid shape or data_offsets");
  uint64_t bytes = sizeof(float);
  for (const Json& side : entry["shape"]) {
    if (!side.is_number_unsigned() || __builtin_mul_overflow(bytes, side.get<uint64_t>(), &bytes))
      refuse_file(path, "tensor \"" + name + "\" has an impossible shape");
    shape.push_back(side.get<int64_t>());
  }
  const Range range{offsets[0].get<uint64_t>(), offsets[1].get<uint64_t>(), name};
  if (range.end < range.begin || range.end - range.begin != bytes)
    refuse_file(path, "tensor \"" + name + "\" has data_offsets that do not fit its shape");
  return range;
}

/// No gaps, no overlaps, nothing left over.
void check_cover(const std::string& path, std::vector<Range> ranges, uint64_t data_bytes) {
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t at = 0;
  for (const Range& range : ranges) {
    if (range.begin != at)
      refuse_file(path, "tensor \"" + range.name + "\" leaves a gap or overlaps another");
    at = range.end;
  }
  if (at != data_bytes)
    refuse_file(path,
                std::to_string(at) + " bytes of data expected, " + std::to_string(data_bytes) + " there");
}

}  // namespace

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t at = 0;
  for (const NamedTensor& tensor : tensors) {
    CHECK(static_cast<int64_t>(tensor.values.size()) == element_count(tensor.shape), tensor.name);
    CHECK(!header.contains(tensor.name), "two tensors named " + tensor.name);
    const uint64_t end = at + tensor.values.size_bytes();
    header[tensor.name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  std::vector<std::span<const std::byte>> pieces = {std::as_bytes(std::span(&length, 1)),
                                                    std::as_bytes(std::span(text))};
  for (const NamedTensor& tensor : tensors) pieces.push_back(std::as_bytes(tensor.values));
  replace_file(path, pieces);
}

SafetensorsFile read_safetensors(const std::string& path) {
  const std::string content = read_file(path);
  uint64_t length = 0;
  if (content.size() < sizeof length) refuse_file(path, "shorter than the 8 bytes of the header's length");
  std::memcpy(&length, content.data(), sizeof length);
  if (length > content.size() - sizeof length) refuse_file(path, "the header is longer than the file");
  const std::string_view data = std::string_view(content).substr(sizeof length + length);
  const Json header =
      Json::parse(content.begin() + sizeof length,
                  content.begin() + static_cast<std::ptrdiff_t>(sizeof length + length), nullptr, false);
  if (!header.is_object()) refuse_file(path, "the header is not a JSON object");

  SafetensorsFile file;
  std::vector<Range> ranges;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) refuse_file(path, "__metadata__ is not an object");
      for (const auto& [key, value] : entry.items()) {
        if (!value.is_string()) refuse_file(path, "__metadata__ holds something that is not text");
        file.metadata[key] = value.get<std::string>();
      }
      continue;
    }
    ranges.push_back(read_entry(path, name, entry, file.tensors[name].shape));
  }
  check_cover(path, ranges, data.size());
  for (const Range& range : ranges) {
    std::vector<float>& values = file.tensors[range.name].values;
    values.resize((range.end - range.begin) / sizeof(float));
    if (!values.empty()) std::memcpy(values.data(), data.data() + range.begin, range.end - range.begin);
  }
  return file;
}

}  // namespace lepton::storage
