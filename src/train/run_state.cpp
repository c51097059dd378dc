// SPDX-License-Identifier: Apache-2.0
// RunState through Boost.Serialization. The checkpoint's envelope (magic, length, checksum) has been verified
// before decode() opens the archive. Called by conductor and by the commands that read checkpoints.
#include "train/run_state.h"

#include <boost/archive/binary_iarchive.hpp>
#include <boost/archive/binary_oarchive.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>
#include <sstream>

#include "base/error.h"

namespace boost::serialization {

template <class Archive>
void serialize(Archive& archive, lepton::data::Statistics& s, unsigned) {
  archive& s.count& s.mean& s.deviation& s.minimum& s.maximum;
}

template <class Archive>
void serialize(Archive& archive, lepton::train::RunState& s, unsigned) {
  archive& s.step& s.schedule_steps& s.scales& s.statistics& s.last_ledger_line& s.pending;
  archive& s.has_best& s.best_metric& s.best_step& s.stale_evaluations;
}

}  // namespace boost::serialization

namespace lepton::train {

bool RunState::improves(double metric, bool larger_is_better, double margin, int64_t at_step) {
  const double gain = larger_is_better ? metric - best_metric : best_metric - metric;
  if (has_best && !(gain > margin)) {
    ++stale_evaluations;
    return false;
  }
  has_best = true;
  best_metric = metric;
  best_step = at_step;
  stale_evaluations = 0;
  return true;
}

constexpr unsigned archive_flags = boost::archive::no_header;  // the header holds the library's version

std::string RunState::encode() const {
  std::ostringstream stream;
  boost::archive::binary_oarchive archive(stream, archive_flags);
  archive << *this;
  return stream.str();
}

RunState RunState::decode(const std::string& bytes, const std::string& where) {
  RunState state;
  try {
    std::istringstream stream(bytes);
    boost::archive::binary_iarchive archive(stream, archive_flags);
    archive >> state;
  } catch (const std::exception& error) {
    fail(Exit::data, where, std::string("the run state cannot be decoded: ") + error.what(),
         "It was written by another version of Lepton; use that version or start over with --fresh.");
  }
  return state;
}

}  // namespace lepton::train
