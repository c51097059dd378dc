// SPDX-License-Identifier: Apache-2.0
// See the header. Whether a CPU has the precision is asked before the cap is set, which cannot be changed.
#include "train/host_math.h"

#include "base/error.h"
#include "base/log.h"
#include "ops/table.h"

namespace lepton::train {

namespace {

/// The first reason of any rank; the same on all.
std::string refusal_of_any(const comm::World& world, const Deck& deck, DeviceKind device) {
  const bool computes = device != DeviceKind::cuda;
  const std::string mine = computes ? ops::precision_refusal(deck.run.isa, deck.precision) : "";
  for (const std::string& one : world.all_gather(mine))
    if (!one.empty()) return one;
  return "";
}

}  // namespace

HostMath prepare_host_math(const comm::World& world, const Deck& deck, DeviceKind device, bool required) {
  HostMath math;
  math.refusal = refusal_of_any(world, deck, device);
  if (device != DeviceKind::cuda && math.refusal.empty()) math.precision = deck.precision;
  comm::agree(world, [&] {
    REQUIRE(math.refusal.empty() || !required, Exit::deck, deck.place("model.precision"), math.refusal,
            "Set model.precision = \"fp32\", or compute where products in " +
                std::string(ops::precision_name(deck.precision)) + " are to be had: " +
                (deck.precision == ops::Precision::bf16
                     ? "on CPUs with AVX512_BF16 or AMX (run.isa = \"auto\"), or on GPUs (train.device = "
                       "\"cuda\")."
                     : "on GPUs (train.device = \"cuda\")."));
    try {
      math.instruction_set = ops::cap_instruction_set(deck.run.isa, math.precision);
    } catch (const Error& error) {
      fail(error.code(), deck.place("run.isa"), error.problem(), error.hint());
    }
  });
  ops::prepare_compute_thread();
  if (world.rank() == 0 && !math.refusal.empty()) log_info("CPUs multiply in fp32: " + math.refusal + ".");
  return math;
}

}  // namespace lepton::train
