// SPDX-License-Identifier: Apache-2.0
// Memory of a device node, and synchronous copies through a pinned bounce buffer. See the header.
#include "train/device_state.h"

#include <algorithm>
#include <cstring>

#include "optim/optimizer.h"

namespace lepton::train {

namespace {

constexpr size_t bounce_bytes = size_t{8} << 20;

template <class T>
Buffer array_on(const ops::Engine& engine, int64_t count, const char* purpose) {
  return Buffer(engine.device(), static_cast<size_t>(std::max<int64_t>(1, count)) * sizeof(T), purpose);
}

int64_t block_of(int64_t element) {
  return (element + block_elements - 1) / block_elements;
}

/// Elements of an array that has room for whole parts (tensor/device_group.h).
int64_t whole_parts(std::span<const int64_t> offsets) {
  return std::max(offsets.back(), (offsets[1] - offsets[0]) * (std::ssize(offsets) - 1));
}

std::vector<ops::TensorRule> rules_of(const ArenaLayout& layout) {
  std::vector<ops::TensorRule> rules;
  for (const ArenaTensor& tensor : layout.tensors()) rules.push_back(optim::tensor_rule(tensor));
  return rules;
}

}  // namespace

int64_t DeviceState::bytes(const ArenaLayout& layout, const exact::Slices& slices, int64_t slice_elements,
                           int moments, int64_t units_max) {
  const int64_t state = 2 * 4 * (whole_parts(slices.elements) + moments * slice_elements);
  const int64_t sums = 8 * whole_parts(slices.elements);
  const int64_t blocks = whole_parts(slices.blocks) * static_cast<int64_t>(8 + 8) +
                         layout.blocks() * static_cast<int64_t>(8 + 8 + sizeof(ops::BlockCheck)) +
                         static_cast<int64_t>(layout.segments().size() * sizeof(Segment));
  const auto tensors = static_cast<int64_t>(layout.tensors().size() * (8 + sizeof(ops::TensorRule)));
  return state + sums + blocks + tensors + units_max * static_cast<int64_t>(sizeof(ops::UnitReport));
}

DeviceState::DeviceState(ops::Engine& engine, const ArenaLayout& layout, NodeState& node,
                         const exact::Slices& slices, int64_t units_max, DeviceGroup* group)
    : engine_(engine),
      node_(node),
      group_(group),
      elements_(layout.elements()),
      first_block_(block_of(node.slice_begin())),
      end_block_(block_of(node.slice_end())),
      bounce_(engine.device(), bounce_bytes, "copies to the device", MemoryKind::pinned) {
  const auto tensors = static_cast<int64_t>(layout.tensors().size());
  for (int slot = 0; slot < 2; ++slot) {
    parameters_[slot] = array_on<float>(engine, whole_parts(slices.elements), "parameters");
    engine.queue->clear(parameters_[slot].data(), parameters_[slot].bytes());  // padding is zero for ever
    for (int m = 0; m < node.moments(); ++m) {
      moments_[slot][m] = array_on<float>(engine, node.slice_end() - node.slice_begin(), "moments");
      engine.queue->clear(moments_[slot][m].data(), moments_[slot][m].bytes());
    }
  }
  elements_sum_ = array_on<int64_t>(engine, whole_parts(slices.elements), "sums of gradients");
  checksums_ = array_on<int64_t>(engine, whole_parts(slices.blocks), "checksums");
  magnitudes_ = array_on<uint32_t>(engine, tensors, "magnitudes");
  scales_ = array_on<int32_t>(engine, tensors, "scales");
  reports_ = array_on<ops::UnitReport>(engine, units_max, "reports of units");
  checks_ = array_on<ops::BlockCheck>(engine, end_block_ - first_block_, "checks of blocks");
  hashes_ = array_on<uint64_t>(engine, whole_parts(slices.blocks), "hashes of blocks");
  segments_ = array_on<Segment>(engine, static_cast<int64_t>(layout.segments().size()), "segments");
  segment_begin_ = array_on<int64_t>(engine, layout.blocks() + 1, "segments");
  rules_ = array_on<ops::TensorRule>(engine, tensors, "rules");
  engine.queue->clear(elements_sum_.data(), elements_sum_.bytes());
  engine.queue->clear(checksums_.data(), checksums_.bytes());
  std::vector<int64_t> begins;
  for (int64_t b = 0; b <= layout.blocks(); ++b) begins.push_back(layout.segment_begin(b));
  upload(std::as_bytes(std::span(layout.segments())), segments_.data());
  upload(std::as_bytes(std::span(begins)), segment_begin_.data());
  const std::vector<ops::TensorRule> rules = rules_of(layout);
  upload(std::as_bytes(std::span(rules)), rules_.data());
}

ops::DeviceSums DeviceState::sums() const {
  return {elements_sum_.as<int64_t>().data(), checksums_.as<int64_t>().data(),
          magnitudes_.as<uint32_t>().data(), scales_.as<int32_t>().data()};
}

ops::BlockTable DeviceState::table() const {
  return {segments_.as<Segment>().data(), segment_begin_.as<int64_t>().data(),
          rules_.as<ops::TensorRule>().data(), elements_};
}

void DeviceState::upload(std::span<const std::byte> host, void* device) {
  for (size_t at = 0; at < host.size(); at += bounce_bytes) {
    const size_t count = std::min(bounce_bytes, host.size() - at);
    std::memcpy(bounce_.data(), host.data() + at, count);
    engine_.queue->copy(static_cast<std::byte*>(device) + at, bounce_.data(), count);
    engine_.queue->synchronize();
  }
}

void DeviceState::download(const void* device, std::span<std::byte> host) {
  for (size_t at = 0; at < host.size(); at += bounce_bytes) {
    const size_t count = std::min(bounce_bytes, host.size() - at);
    engine_.queue->copy(bounce_.data(), static_cast<const std::byte*>(device) + at, count);
    engine_.queue->synchronize();
    std::memcpy(host.data() + at, bounce_.data(), count);
  }
}

void DeviceState::upload_parameters(int slot) {
  upload(std::as_bytes(node_.parameters(slot)), parameters(slot));
}

void DeviceState::upload_state(int slot) {
  upload_parameters(slot);
  for (int m = 0; m < node_.moments(); ++m) upload(std::as_bytes(node_.moment(slot, m)), moment(slot, m));
}

void DeviceState::refresh_host(int slot) {
  download(parameters(slot), std::as_writable_bytes(node_.parameters(slot)));
}

}  // namespace lepton::train
