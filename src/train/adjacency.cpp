// SPDX-License-Identifier: Apache-2.0
// Reading of CSR groups; see the header.
#include "train/adjacency.h"

#include <algorithm>
#include <cmath>

#include "comm/pack.h"
#include "data/row_check.h"
#include "storage/hdf5.h"

namespace lepton::train {

namespace {

using PackedMatrix =
    std::pair<std::pair<int64_t, int64_t>,
              std::pair<std::vector<int64_t>, std::pair<std::vector<int32_t>, std::vector<float>>>>;

std::string pack(const ops::SparseMatrix& m) {
  return comm::pack(PackedMatrix{{m.rows, m.columns}, {m.starts, {m.indices, m.values}}});
}

ops::SparseMatrix unpack(const std::string& bytes) {
  const auto packed = comm::unpack<PackedMatrix>(bytes, "a sparse matrix");
  return {packed.first.first, packed.first.second, packed.second.first, packed.second.second.first,
          packed.second.second.second};
}

/// Whole numbers from 0 to `most`.
std::vector<int64_t> read_whole(const std::string& file, const std::string& path, int64_t most) {
  std::vector<int64_t> whole;
  for (const double number : read_numbers(file, path)) {
    REQUIRE(number >= 0 && number <= static_cast<double>(most) && number == std::floor(number), Exit::data,
            file + ":" + path + ", element " + std::to_string(whole.size()),
            "it is not a whole number from 0 to " + std::to_string(most), "");
    whole.push_back(static_cast<int64_t>(number));
  }
  return whole;
}

bool has_array(const std::string& file, const std::string& path) {
  const auto arrays = storage::list_arrays(file);
  const std::string plain = path.substr(path.find_first_not_of('/'));
  return std::any_of(arrays.begin(), arrays.end(), [&](const storage::ArrayInfo& array) {
    return array.path == path || array.path == plain || array.path == "/" + plain;
  });
}

}  // namespace

std::vector<double> read_numbers(const std::string& file, const std::string& path) {
  const storage::Hdf5Array array(file, path);
  const storage::ArrayInfo& info = array.info();
  const int64_t rows = info.shape.front();
  std::vector<std::byte> bytes(static_cast<size_t>(rows) * info.row_bytes());
  array.read_rows(0, rows, bytes);
  std::vector<double> numbers(static_cast<size_t>(element_count(info.shape)));
  for (size_t i = 0; i < numbers.size(); ++i)
    numbers[i] = data::stored_number(info.type, bytes.data(), static_cast<int64_t>(i));
  return numbers;
}

ops::SparseMatrix read_sparse_matrix(const std::string& file, const std::string& path, int64_t columns) {
  ops::SparseMatrix matrix;
  matrix.starts = read_whole(file, path + "/indptr", INT64_MAX / 2);
  REQUIRE(!matrix.starts.empty(), Exit::data, file + ":" + path + "/indptr", "it is empty",
          "It holds where each row's entries begin, and their number behind.");
  matrix.rows = std::ssize(matrix.starts) - 1;
  const std::vector<int64_t> indices =
      read_whole(file, path + "/indices", columns > 0 ? columns - 1 : INT32_MAX);
  matrix.indices.assign(indices.begin(), indices.end());
  matrix.columns =
      columns > 0 ? columns : (indices.empty() ? 0 : *std::max_element(indices.begin(), indices.end()) + 1);
  if (has_array(file, path + "/values")) {
    for (const double value : read_numbers(file, path + "/values"))
      matrix.values.push_back(static_cast<float>(value));
  } else {
    matrix.values.assign(indices.size(), 1.0F);
  }
  const std::string fault = ops::fault_of(matrix);
  REQUIRE(fault.empty(), Exit::data, file + ":" + path, "it is no sparse matrix: " + fault,
          "A group with indptr [rows + 1], indices and, if not all are 1, values.");
  return matrix;
}

std::shared_ptr<const ops::SparseMatrix> read_adjacency(const comm::World& world, const std::string& file,
                                                        const std::string& path) {
  std::string bytes;
  comm::agree(world, [&] {
    if (world.rank() != 0) return;
    const auto rows = static_cast<int64_t>(read_numbers(file, path + "/indptr").size()) - 1;
    bytes = pack(read_sparse_matrix(file, path, std::max<int64_t>(rows, 1)));
  });
  world.broadcast(bytes);
  return std::make_shared<const ops::SparseMatrix>(unpack(bytes));
}

}  // namespace lepton::train
