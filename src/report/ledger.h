// SPDX-License-Identifier: Apache-2.0
// The ledger: ledger.txt, one line per accepted or skipped step, hash-chained, so that `diff` compares two
// runs. A line holds nothing that depends on time, ranks, plans or checkpoints. After a restart the lines
// behind the state are set aside (ledger.set-aside) and the recomputed ones must equal them: a difference
// ends the run with 70, naming step and field. A torn last line is dropped. **Rank 0 only.** Called by train.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "storage/file.h"

namespace lepton::report {

struct LedgerLine {
  int64_t step = 0, epoch = 0, samples = 0;           ///< after this step; samples: of this step's batch
  int attempts = 1;                                   ///< scale redos included
  bool skipped = false;                               ///< non-finite, by key: nothing changed, step counted
  double loss = 0;                                    ///< mean over the batch
  double weight = 0;                                  ///< sum of weights
  uint64_t gradient = 0, scales = 0, parameters = 0;  ///< checksums
  /// Of several losses each one's mean, in the order of their names; "loss.NAME".
  std::vector<std::pair<std::string, double>> losses = {};
  uint64_t chain = 0;  ///< hash of the line before it and of this one's text
  std::string note;    ///< "" or e.g. "new-arithmetic-class"; no white space

  /// "step=7 epoch=0 ... chain=HEX", without newline; doubles as shortest round-trip decimal.
  std::string encode() const;
  /// Names and values in the ledger's order, without the chain; skipped and note only where they say
  /// something.
  std::vector<std::pair<std::string, std::string>> fields() const;
  /// Sets the chain behind a line with the chain `previous`, and encodes into `text`, which allocates nothing
  /// once it has been as long.
  void chain_onto(uint64_t previous, std::string& text);
  /// The line that encodes to exactly this text.
  static std::optional<LedgerLine> decode(const std::string& text);
  /// What `chain` must be behind a line with the chain `previous` (0: none).
  uint64_t chain_after(uint64_t previous) const;
};

class Ledger {
 public:
  /// Opens <directory>/ledger.txt for a run whose state is after `last` (the run state's last line; nullopt:
  /// step 0). Appends `last` if it is missing; sets aside later lines. `compare` false (class changed): later
  /// lines go to ledger.not-compared instead and are only kept.
  Ledger(const std::string& directory, const std::optional<LedgerLine>& last, bool compare);
  /// Chains and appends; compares with a set-aside line of this step, which throws Error(software) on a
  /// difference. Returns the line's text, valid until the next one. Allocates nothing after the first.
  const std::string& append(const LedgerLine& said);
  const std::optional<LedgerLine>& last() const { return last_; }
  void make_durable();  ///< safe to call from the writer thread

 private:
  std::string directory_;
  std::optional<LedgerLine> last_;
  LedgerLine next_;  ///< what is appended; kept, so that its memory is
  std::string text_, written_;
  std::deque<LedgerLine> expected_;
  storage::LineFile file_;
};

/// All intact lines; verifies the chain. `broken_at` is the first line (from 1) that does not fit, 0 if none.
/// A torn last line is ignored, a missing file is empty.
std::vector<LedgerLine> read_ledger(const std::string& path, int64_t& broken_at);

}  // namespace lepton::report
