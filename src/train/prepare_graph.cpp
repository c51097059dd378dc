// SPDX-License-Identifier: Apache-2.0
// A graph as one sample of the usual kind: its nodes are positions of a sequence with a class each, of which
// a split counts its own. See the header.
#include "train/prepare_graph.h"

#include <algorithm>

#include "storage/file.h"
#include "storage/hdf5.h"
#include "train/adjacency.h"

namespace lepton::train {

namespace {

using storage::StoredType;

constexpr StoredType float32{StoredType::Kind::floating, 4, false};
constexpr StoredType int32{StoredType::Kind::signed_integer, 4, false};
constexpr StoredType int64{StoredType::Kind::signed_integer, 8, false};

std::optional<storage::ArrayInfo> find_array(const std::vector<storage::ArrayInfo>& arrays,
                                             const std::string& path) {
  for (const storage::ArrayInfo& array : arrays)
    if (array.path == path || array.path == "/" + path) return array;
  return std::nullopt;
}

/// [N, F], row by row.
struct Features {
  int64_t nodes = 0, width = 0;
  std::vector<float> values;
};

Features read_features(const std::string& file, const std::vector<storage::ArrayInfo>& arrays) {
  Features features;
  if (const auto dense = find_array(arrays, "features")) {
    REQUIRE(dense->shape.size() == 2, Exit::data, file + ":features",
            "features have shape [nodes, features], this array has " + shape_text(dense->shape), "");
    features.nodes = dense->shape[0];
    features.width = dense->shape[1];
    for (const double value : read_numbers(file, "features"))
      features.values.push_back(static_cast<float>(value));
    return features;
  }
  const ops::SparseMatrix sparse = read_sparse_matrix(file, "features", 0);
  features.nodes = sparse.rows;
  features.width = sparse.columns;
  features.values.assign(static_cast<size_t>(sparse.rows * sparse.columns), 0.0F);
  for (int64_t r = 0; r < sparse.rows; ++r)
    for (auto k = sparse.starts[static_cast<size_t>(r)]; k < sparse.starts[static_cast<size_t>(r) + 1]; ++k)
      features.values[static_cast<size_t>(r * sparse.columns + sparse.indices[static_cast<size_t>(k)])] +=
          sparse.values[static_cast<size_t>(k)];
  return features;
}

void divide_by_sums(Features& features) {
  for (int64_t node = 0; node < features.nodes; ++node) {
    float* row = features.values.data() + node * features.width;
    double sum = 0;
    for (int64_t i = 0; i < features.width; ++i) sum += static_cast<double>(row[i]);
    if (sum == 0) continue;
    for (int64_t i = 0; i < features.width; ++i)
      row[i] = static_cast<float>(static_cast<double>(row[i]) / sum);
  }
}

/// Which nodes a split has: a mask of as many numbers as there are nodes, or a list.
std::vector<bool> members_of(const std::string& file, const std::string& path, int64_t nodes) {
  const std::vector<double> numbers = read_numbers(file, path);
  const bool mask = std::ssize(numbers) == nodes &&
                    std::all_of(numbers.begin(), numbers.end(), [](double x) { return x == 0 || x == 1; });
  std::vector<bool> members(static_cast<size_t>(nodes), false);
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (mask) {
      members[i] = numbers[i] == 1;
      continue;
    }
    REQUIRE(numbers[i] >= 0 && numbers[i] < static_cast<double>(nodes), Exit::data,
            file + ":" + path + ", element " + std::to_string(i),
            "it is not the number of a node, from 0 to " + std::to_string(nodes - 1), "");
    members[static_cast<size_t>(numbers[i])] = true;
  }
  return members;
}

std::vector<int32_t> read_labels(const std::string& file, int64_t nodes) {
  const std::vector<double> numbers = read_numbers(file, "labels");
  REQUIRE(std::ssize(numbers) == nodes, Exit::data, file + ":labels",
          "there are " + std::to_string(numbers.size()) + " labels for " + std::to_string(nodes) + " nodes",
          "");
  std::vector<int32_t> labels;
  for (const double number : numbers) {
    REQUIRE(number >= no_class && number < INT32_MAX &&
                number == static_cast<double>(static_cast<int64_t>(number)),
            Exit::data, file + ":labels, element " + std::to_string(labels.size()),
            "it is no class: a whole number from 0 up, or -1 for none", "");
    labels.push_back(static_cast<int32_t>(number));
  }
  return labels;
}

/// An array of the new file with its bytes.
struct Content {
  storage::NewArray array;
  std::vector<std::byte> bytes;
};

template <class T>
Content content(const std::string& path, const StoredType& type, Shape shape, const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {{path, type, std::move(shape)}, {bytes.begin(), bytes.end()}};
}

void write(const std::string& output, const std::vector<Content>& contents) {
  std::vector<storage::NewArray> arrays;
  for (const Content& one : contents) arrays.push_back(one.array);
  const std::vector<int64_t> offsets = storage::create_contiguous(output, arrays);
  storage::SharedFile file(output);
  for (size_t i = 0; i < contents.size(); ++i) file.write(contents[i].bytes, offsets[i]);
  file.finish();
}

}  // namespace

nlohmann::ordered_json prepare_graph(const std::string& file, bool shares, const std::string& output) {
  const std::vector<storage::ArrayInfo> arrays = storage::list_arrays(file);
  Features features = read_features(file, arrays);
  if (shares) divide_by_sums(features);
  const int64_t nodes = features.nodes;
  const ops::SparseMatrix adjacency = read_sparse_matrix(file, "adjacency", nodes);
  REQUIRE(adjacency.rows == nodes, Exit::data, file + ":adjacency",
          "it has " + std::to_string(adjacency.rows) + " rows for " + std::to_string(nodes) + " nodes", "");
  const std::vector<int32_t> labels = read_labels(file, nodes);
  nlohmann::ordered_json report = {
      {"nodes", nodes}, {"features", features.width}, {"edges", adjacency.entries()}};
  std::vector<Content> contents = {
      content("features", float32, {1, nodes, features.width}, features.values),
      content("adjacency/indptr", int64, {nodes + 1}, adjacency.starts),
      content("adjacency/indices", int32, {adjacency.entries()}, adjacency.indices),
      content("adjacency/values", float32, {adjacency.entries()}, adjacency.values)};
  for (const std::string name : {"train", "validation", "test"}) {
    if (!find_array(arrays, "split/" + name)) continue;
    const std::vector<bool> members = members_of(file, "split/" + name, nodes);
    std::vector<int32_t> own = labels;
    for (size_t i = 0; i < own.size(); ++i)
      if (!members[i]) own[i] = static_cast<int32_t>(no_class);
    report[name] = std::ranges::count(members, true);
    contents.push_back(content(name + "/labels", int32, {1, nodes}, own));
  }
  REQUIRE(report.contains("train"), Exit::data, file, "there is no split/train",
          "Give the nodes of each split: split/train, split/validation, split/test.");
  write(output, contents);
  return report;
}

}  // namespace lepton::train
