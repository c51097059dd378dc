// SPDX-License-Identifier: Apache-2.0
// What tests of messages and barriers wait for: time, and the next letter.
#pragma once

#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/waiting.h"
#include "comm/mailbox.h"

namespace lepton::comm {

inline void sleep_s(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

inline Letter next_letter(Mailbox& mailbox) {
  for (Pace pace;; pace.step()) {
    if (std::optional<Letter> letter = mailbox.receive()) return std::move(*letter);
    REQUIRE(pace.waited_s() < 60, Exit::again, "test", "no letter came", "");
  }
}

}  // namespace lepton::comm
