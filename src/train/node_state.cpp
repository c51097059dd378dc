// SPDX-License-Identifier: Apache-2.0
// Cuts the node's shared memory. Called once per run by trainer.
#include "train/node_state.h"

#include <new>

#include "base/error.h"
#include "train/cutter.h"

namespace lepton::train {

namespace {

struct ControlViews {
  std::span<NodeControl> control;
  std::span<comm::Attendant> roster;
  std::array<std::span<uint64_t>, 2> block_hashes;
  std::span<std::byte> lanes;
  std::span<int32_t> queue_list;
  std::span<int> scales;
  std::span<uint32_t> overflow_bits;
  std::vector<std::span<int64_t>> samples, unit_begins;
};

size_t cut_control(std::byte* memory, const ArenaLayout& layout, const NodeSizes& sizes, size_t lanes_bytes,
                   ControlViews& views) {
  Cutter cutter(memory);
  views.control = cutter.take<NodeControl>(1);
  views.roster = cutter.take<comm::Attendant>(static_cast<size_t>(sizes.threads));
  for (auto& hashes : views.block_hashes) hashes = cutter.take<uint64_t>(layout.blocks());
  views.lanes = cutter.take<std::byte>(lanes_bytes);
  views.queue_list = cutter.take<int32_t>(sizes.max_units);
  views.scales = cutter.take<int>(layout.tensors().size());
  views.overflow_bits = cutter.take<uint32_t>(layout.tensors().size());
  views.samples.clear();
  views.unit_begins.clear();
  for (int t = 0; t < sizes.tickets; ++t) {
    views.samples.push_back(cutter.take<int64_t>(sizes.max_samples));
    views.unit_begins.push_back(cutter.take<int64_t>(sizes.max_units + 1));
  }
  return cutter.used();
}

}  // namespace

size_t cut_state(std::byte* memory, int64_t elements, int64_t slice, const StateShape& shape,
                 StateViews& views) {
  Cutter cutter(memory);
  const auto blocks = static_cast<size_t>((elements + block_elements - 1) / block_elements);
  for (int slot = 0; slot < 2; ++slot) {
    views.parameters[slot] =
        slot < shape.parameter_slots ? cutter.take<float>(elements) : views.parameters[0];
    for (int m = 0; m < shape.moments; ++m)
      views.moments[slot][m] = slot < shape.moment_slots ? cutter.take<float>(slice) : views.moments[0][m];
    views.parameter_sums[slot] = cutter.take<uint64_t>(blocks);
    views.moment_sums[slot] = cutter.take<uint64_t>(blocks);
  }
  return cutter.used();
}

NodeState::NodeState(const comm::World& world, const ArenaLayout& layout, const NodeSizes& sizes,
                     const exact::Lanes& lanes, std::span<const int64_t> slices,
                     const std::string& shm_directory)
    : domains_(sizes.domains),
      slice_begin_(slices[world.node()]),
      slice_end_(slices[world.node() + 1]),
      tickets_(sizes.tickets),
      moment_count_(sizes.state.moments) {
  for (int domain = 0; domain < domains_.count(); ++domain) {
    accumulator_memory_.emplace_back(world, shm_directory, "accumulator" + std::to_string(domain),
                                     exact::Accumulator::bytes(layout), domains_.kernel_number(domain));
    accumulators_.emplace_back(layout, accumulator_memory_.back().as<std::byte>());
  }
  const int64_t slice = slice_end_ - slice_begin_;
  StateViews state;
  const size_t head = KeptState::head_bytes(sizes.kept_small_bytes),
               state_bytes = head + cut_state(nullptr, layout.elements(), slice, sizes.state, state);
  state_memory_ = sizes.kept_name.empty()
                      ? comm::SharedMemory(world, shm_directory, "state", state_bytes)
                      : comm::SharedMemory::kept(world, shm_directory, sizes.kept_name, state_bytes);
  kept_.emplace(state_memory_.as<std::byte>(), sizes.kept_small_bytes);
  cut_state(state_memory_.data() + head, layout.elements(), slice, sizes.state, state);
  parameters_ = state.parameters;
  moments_ = state.moments;
  parameter_sums_ = state.parameter_sums;
  moment_sums_ = state.moment_sums;

  ControlViews views;
  const size_t lanes_bytes = exact::NodeLanes::bytes(lanes);
  const size_t control_bytes = cut_control(nullptr, layout, sizes, lanes_bytes, views);
  control_memory_ = comm::SharedMemory(world, shm_directory, "control", control_bytes);
  cut_control(control_memory_.data(), layout, sizes, lanes_bytes, views);
  control_ = views.control.data();
  if (world.leads()) new (control_) NodeControl;
  world.node_barrier();
  block_hashes_ = views.block_hashes;
  lanes_.emplace(lanes, views.lanes);
  roster_ = views.roster;
  queue_list_ = views.queue_list;
  scales_ = views.scales;
  overflow_bits_ = views.overflow_bits;
  samples_ = views.samples;
  unit_begins_ = views.unit_begins;
}

size_t node_state_bytes(const ArenaLayout& layout, int64_t slice_elements, const StateShape& shape,
                        int domains) {
  StateViews views;
  return KeptState::head_bytes(0) + cut_state(nullptr, layout.elements(), slice_elements, shape, views) +
         static_cast<size_t>(domains) * exact::Accumulator::bytes(layout);
}

StateShape state_shape(int moments, bool device, int nodes) {
  if (!device) return {.moments = moments};
  return {.moments = moments, .parameter_slots = nodes == 1 ? 1 : 2, .moment_slots = 1};
}

}  // namespace lepton::train
