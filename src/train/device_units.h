// SPDX-License-Identifier: Apache-2.0
// DeviceUnits: the way of units through a device: rows are assembled into pinned memory, copied on a queue of
// their own while the unit before computes, and run as one recording: forward, loss, backward, each gradient
// added to the sum behind the op that gives it. Two places for staged units; a third waits until the first
// is finished. What a recording reads lies at fixed addresses, into which the staged unit is moved first.
// Invariant: what a unit adds is a pure function of (parameters, sample ids, step, seed). Made and used by
// device_runner.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "model/executor.h"
#include "train/device_state.h"
#include "train/unit.h"

namespace lepton::train {

class DeviceUnits : public model::GradientSink {
 public:
  /// Resources must outlive it. Throws Error(memory).
  DeviceUnits(const UnitResources& resources, const UnitSizes& sizes);
  ~DeviceUnits() override;

  /// Device bytes that it takes.
  static int64_t bytes(const model::Graph& graph, const data::Dataset& dataset, const UnitSizes& sizes,
                       const ops::Loss& loss, const ops::TallySpec& tally, ops::Arithmetic& arithmetic);

  /// Pinned host bytes that it takes.
  static int64_t pinned_bytes(const data::Dataset& dataset, const UnitSizes& sizes);

  /// Waits, calling `between` if it is not empty, until at most one unit is ahead on the queue; stages and
  /// enqueues unit `number` of the round; its report goes to place `report`.
  void start(const RoundHeader& header, int64_t number, uint32_t report, const std::function<void()>& between,
             double& data_s);
  /// Whether all that was enqueued is finished.
  bool idle() const;
  /// Finds the node where something non-finite first appears in a unit; waits for all work.
  int first_non_finite(const RoundHeader& header, int64_t number);
  /// Sums over evaluation units, since they were cleared: as UnitResources::tally has them.
  int64_t* counts() const { return counts_.as<int64_t>().data(); }
  size_t counts_bytes() const { return counts_.bytes(); }
  /// Of several losses the sums of each unit, by its report and in the order of the losses.
  ops::UnitLoss* part_losses() const { return part_losses_.as<ops::UnitLoss>().data(); }
  size_t part_losses_bytes() const { return part_losses_.bytes(); }

  void gradient(int tensor, int64_t first, std::span<const float> values) override;

 private:
  /// Where one unit's parts lie in a place: the tag first, inputs last.
  struct Parts {
    size_t ids = 0, inputs = 0, bytes = 0;
    std::vector<size_t> targets;
  };
  struct Place {
    Buffer pinned, device;
    std::unique_ptr<Event> copied, finished;
  };
  using Key = std::tuple<int64_t, int, bool>;  // samples, slot, training

  static Parts parts_of(const data::Dataset& dataset, const UnitSizes& sizes);
  /// Assembles into pinned memory; returns the samples.
  int64_t assemble(const RoundHeader& header, int64_t number, uint32_t report, std::byte* to);
  /// Enqueues its copies; the unit becomes the current one.
  void bring(Place& place, int64_t samples, bool training);
  void enqueue(int64_t samples, int slot, bool training);
  void run_loss(int64_t samples, bool training);
  /// A loss over all of a sample's scores, or one of several; its target has this number.
  void run_one(const ops::Loss& loss, size_t target, int64_t positions, ops::LossOfSeveral part,
               int64_t first, int64_t samples, bool training);
  model::UnitRun current(int64_t samples);

  UnitResources resources_;
  DeviceState& state_;
  Parts parts_;
  model::Executor executor_;
  std::unique_ptr<Queue> copies_;
  std::array<Place, 2> places_;
  Buffer current_, per_sample_, part_losses_, counts_, class_weights_;
  std::map<Key, std::unique_ptr<Recording>> recordings_;
  std::vector<const std::byte*> rows_;
  uint64_t started_ = 0;
};

}  // namespace lepton::train
