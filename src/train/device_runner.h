// SPDX-License-Identifier: Apache-2.0
// DeviceRunner: the Worker that feeds a device. It takes single units from the node's queue, keeps two of
// them ahead, and does the passes over the node's slice there. With one node a step has one synchronisation,
// behind the update; with several the sums, and then the parameters, are exchanged by the devices themselves
// (train/device_exchange) or go through the host's copy, where leaders reduce and gather them. What units
// counted is put into the lanes when their reports have come.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "train/device_units.h"
#include "train/worker.h"

namespace lepton::train {

class DeviceRunner : public Worker {
 public:
  /// Takes the state from the host's copy. Throws Error(memory).
  DeviceRunner(const UnitResources& resources, const UnitSizes& sizes, int nodes);

  void run_queue(const std::function<void()>& between) override;
  void verify() override;
  void verify_and_update() override;
  void update() override;
  void copy_state(const StateCopy& to) override;

 private:
  static constexpr int64_t units_ahead = 2;  ///< on the queue when the next one may be staged
  void begin_round(const RoundHeader& header);
  void count_progress(int64_t finished);
  /// Enqueues the copies of what came out of the round, to pinned memory.
  void enqueue_reports(const RoundHeader& header);
  /// Waits for everything that was enqueued; counts the round's units, the first time.
  void collect(const RoundHeader& header);
  void collect_unit(const RoundHeader& header, int64_t number, size_t place, const ops::UnitReport& report);
  /// Of the unit of the report at `place`: each of several losses into its sums; returns their weighted sum.
  ops::UnitLoss collect_parts(size_t place, int64_t samples);
  void collect_magnitudes();
  void collect_counts();
  /// The sums and their checksums to the host's accumulator, or the slice's back.
  void download_sums();
  void upload_sums();
  void enqueue_verify(bool norms);
  void collect_checks(bool norms);
  void enqueue_update();
  /// After the update is done: hashes, and the slice's parameters where they go through it, to the host's
  /// copy.
  void collect_update();
  void clear_sums();
  void pass_flip();
  bool alone() const { return nodes_ == 1; }
  /// Do sums and parameters go to the other nodes by the host's copy?
  bool through_host() const { return !alone() && !state_.group(); }

  /// Offsets of what comes back, in pinned memory.
  struct Mail {
    size_t reports = 0, part_losses = 0, magnitudes = 0, checks = 0, hashes = 0, counts = 0, bytes = 0;
  };
  Mail mail_layout() const;
  template <class T>
  std::span<T> mail(size_t offset, int64_t count) const {
    return {reinterpret_cast<T*>(mail_.data() + offset), static_cast<size_t>(count)};
  }

  DeviceState& state_;
  DeviceUnits units_;
  int nodes_;
  Mail layout_;
  Buffer mail_, scales_;          // pinned
  std::vector<int64_t> numbers_;  ///< of the round's units here, in the order of their reports
  bool collected_ = true;
  int slot_;  ///< whose parameters are on the device
  double began_s_ = 0;
};

}  // namespace lepton::train
