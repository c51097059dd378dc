// SPDX-License-Identifier: Apache-2.0
// Failpoints: named places where the shipped program can be made to fail, so that the program that is tested
// is the one that runs (DESIGN section 8). LEPTON_FAULT is read by rank 0, broadcast by train, and armed
// here. Also the run context (rank, step, unit of this thread) that failpoints match on and CHECK prints.
//   entries:  LEPTON_FAULT="point=unit,action=delay:5ms;rank=1,step=7,point=reduce,action=kill"
//   actions:  kill, segv (these signals), stop (SIGSTOP: frozen until SIGCONT), error (throws Error(io)),
//             hang (this thread never comes back), delay:5ms (us, ms, s), flip (one bit of the span at hand;
//             passes without a span do not match)
//   count=n:  the n-th matching pass acts; a delay acts from that pass on
// Invariants: unarmed, failpoint() costs one predictable branch. The last entry that matches and can still
// act wins; all actions but `delay` act once per process. Every point in src/ stands in the table of
// failpoint.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace lepton {

struct RunContext {
  int rank = 0;
  int64_t step = 0;
  int64_t unit = -1;    ///< -1: not inside a unit
  int64_t restart = 0;  ///< which start of this run directory this is, from 0
};

/// The calling thread's context. The threads of base/workers take over the context of whoever gives them
/// work, so rank and restart need to be set in the main thread only, and step before the team runs.
RunContext& run_context();

/// Parses LEPTON_FAULT's text (entries `;`, pairs `,`). Throws Error(usage) naming the bad entry. "" disarms.
/// Called before compute threads pass failpoints, never beside them.
void arm_failpoints(const std::string& text);

namespace detail {
extern bool failpoints_armed;
void failpoint_slow(std::string_view point, std::span<std::byte> bytes);
}  // namespace detail

/// For a point whose bytes would have to be fetched first.
inline bool failpoints_armed() {
  return detail::failpoints_armed;
}

/// Passes a failpoint. `bytes` is what action `flip` flips one bit of. Action `error` throws Error(io).
inline void failpoint(std::string_view point, std::span<std::byte> bytes = {}) {
  if (detail::failpoints_armed) [[unlikely]]
    detail::failpoint_slow(point, bytes);
}

}  // namespace lepton
