// SPDX-License-Identifier: Apache-2.0
// Sums of what others say they will take; see the header.
#include "train/memory_needs.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "data/exchange.h"
#include "exact/slices.h"
#include "model/executor.h"
#include "report/texts.h"
#include "train/device_units.h"
#include "train/node_state.h"
#include "train/unit_runner.h"

namespace lepton::train {

namespace {

int64_t ceil_divide(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

std::string bytes_of(int64_t bytes) {
  return report::bytes_text(static_cast<double>(bytes));
}

}  // namespace

std::string MemoryNeeds::largest_parts() const {
  std::vector<std::pair<int64_t, std::string>> parts = {
      {data, "data " + bytes_of(data)},
      {state, "state " + bytes_of(state)},
      {checkpoint, "checkpoint copy " + bytes_of(checkpoint)},
      {staging, "rows of other machines " + bytes_of(staging)},
      {per_thread * threads, std::to_string(threads) + " x " + bytes_of(per_thread) + " for compute threads"},
  };
  std::stable_sort(parts.begin(), parts.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string text;
  for (size_t i = 0; i < 3 && parts[i].first > 0; ++i) text += (i == 0 ? "" : ", ") + parts[i].second;
  return text;
}

MemoryNeeds memory_needs(const data::Dataset& dataset, const model::Graph& graph, const UnitSizes& sizes,
                         const NodeCut& cut) {
  MemoryNeeds needs;
  int64_t row_bytes_max = 0;
  for (const data::Source& source : dataset.sources()) {
    const auto row_bytes = static_cast<int64_t>(source.row_bytes());
    needs.data += ceil_divide(source.used_end - source.used_begin, cut.machines) * row_bytes;
    row_bytes_max = std::max(row_bytes_max, row_bytes);
  }
  const exact::Slices slices = exact::cut_arena(graph.layout, cut.nodes);
  int64_t slice = 0;
  for (size_t node = 0; node + 1 < slices.elements.size(); ++node)
    slice = std::max(slice, slices.elements[node + 1] - slices.elements[node]);
  const StateShape state = state_shape(cut.moments, cut.device, cut.nodes);
  needs.state =
      static_cast<int64_t>(node_state_bytes(graph.layout, slice, state, cut.device ? 1 : cut.domains));
  const bool trains = !sizes.training.empty();
  if (trains) needs.checkpoint = slice * 4 * (1 + cut.moments);
  if (cut.machines > 1) needs.staging = data::RowExchange::slots * sizes.max_samples * row_bytes_max;
  needs.threads = cut.threads;
  if (cut.device) {
    needs.per_thread = DeviceUnits::pinned_bytes(dataset, sizes);
    return needs;
  }
  const size_t workspace = model::Executor::workspace_bytes(graph, sizes.training, sizes.inference,
                                                            ops::host_arithmetic(cut.precision));
  needs.per_thread = static_cast<int64_t>(workspace) * (trains ? units_together(graph, workspace) : 1);
  return needs;
}

int64_t feasible_nodes(const data::Dataset& dataset, const model::Graph& graph, const UnitSizes& sizes,
                       const NodeCut& cut, int64_t available_bytes) {
  const auto fits = [&](int nodes) {
    NodeCut other = cut;
    other.nodes = other.machines = nodes;
    return memory_needs(dataset, graph, sizes, other).total() <= available_bytes;
  };
  if (fits(1)) return 1;
  // From two nodes on needs fall with their number (one node has no staging, and is tried by itself).
  constexpr int most = 1 << 16;
  int high = 2;
  while (!fits(high)) {
    if (high >= most) return 0;
    high *= 2;
  }
  int low = high / 2;  // does not fit, or is 1
  while (high - low > 1) {
    const int middle = low + (high - low) / 2;
    (fits(middle) ? high : low) = middle;
  }
  return high;
}

void require_memory(const MemoryNeeds& needs, int64_t host_bytes, const OnHost& host, int64_t available_bytes,
                    const std::string& where) {
  const std::string nodes = host.nodes == 1 ? "" : " for the " + std::to_string(host.nodes) + " nodes on it";
  REQUIRE(host_bytes <= available_bytes, Exit::memory, where,
          "this machine needs " + bytes_of(host_bytes) + " of memory" + nodes + ", " +
              bytes_of(available_bytes) +
              " are available; the largest parts of a node: " + needs.largest_parts(),
          "Use a smaller train.unit_size, fewer threads (train.threads), or more machines: rows are divided "
          "among "
          "these, moments among all nodes.");
}

}  // namespace lepton::train
