// SPDX-License-Identifier: Apache-2.0
// ExchangeMemory: where the arrays of an exchange between nodes lie, the host's memory or a device's. Made by
// reduction.cpp and mpi_device_group, used by exchange.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lepton::comm {

class ExchangeMemory {
 public:
  virtual ~ExchangeMemory() = default;
  /// Room beside the arrays, kept from call to call.
  virtual std::byte* scratch(size_t bytes) = 0;
  /// sums[i] += more[i], modulo 2^64; `more` may be overwritten when it returns.
  virtual void add(int64_t* sums, const int64_t* more, size_t count) = 0;
};

/// The host's.
class HostMemory : public ExchangeMemory {
 public:
  std::byte* scratch(size_t bytes) override;
  void add(int64_t* sums, const int64_t* more, size_t count) override;

 private:
  std::vector<int64_t> scratch_;
};

}  // namespace lepton::comm
