// SPDX-License-Identifier: Apache-2.0
// RunState through Boost.Serialization. The checkpoint's envelope (magic, length, checksum) has been verified
// before decode() opens the archive. Called by conductor and by the commands that read checkpoints.
#include "train/run_state.h"

#include <boost/archive/binary_iarchive.hpp>
#include <boost/archive/binary_oarchive.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>
#include <cmath>
#include <cstring>
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
  if (!has_best && std::isnan(metric)) return false;  // undefined: nothing would be better
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

namespace {

struct Changing {
  int64_t step = 0, best_step = 0, stale_evaluations = 0;
  double best_metric = 0;
  int64_t pending = 0, has_best = 0;
  uint64_t encoded_bytes = 0, scales = 0, line_bytes = 0;
};

void append(std::string& out, const void* bytes, size_t count) {
  out.append(static_cast<const char*>(bytes), count);
}

}  // namespace

void RunState::encode_onto(std::string_view encoded, Pending left, std::string& out) const {
  const Changing changing{step,
                          best_step,
                          stale_evaluations,
                          best_metric,
                          static_cast<int64_t>(left),
                          has_best,
                          encoded.size(),
                          scales.size(),
                          last_ledger_line.size()};
  out.clear();
  append(out, &changing, sizeof changing);
  append(out, encoded.data(), encoded.size());
  append(out, scales.data(), scales.size() * sizeof(int));
  append(out, last_ledger_line.data(), last_ledger_line.size());
}

RunState RunState::decode_from(std::string_view bytes, const std::string& where) {
  Changing changing;
  const char* hint = "Remove what is left of the run in run.shm_dir.";
  REQUIRE(bytes.size() >= sizeof changing, Exit::data, where, "the run state is cut", hint);
  std::memcpy(&changing, bytes.data(), sizeof changing);
  bytes.remove_prefix(sizeof changing);
  const auto taken = [&](uint64_t count) {
    REQUIRE(count <= bytes.size(), Exit::data, where, "the run state is cut", hint);
    const std::string_view part = bytes.substr(0, count);
    bytes.remove_prefix(count);
    return part;
  };
  RunState state = decode(std::string(taken(changing.encoded_bytes)), where);
  state.step = changing.step;
  state.best_step = changing.best_step;
  state.stale_evaluations = changing.stale_evaluations;
  state.best_metric = changing.best_metric;
  state.has_best = changing.has_best != 0;
  state.pending = static_cast<Pending>(changing.pending);
  REQUIRE(changing.scales <= bytes.size(), Exit::data, where, "the run state is cut", hint);
  const std::string_view scales = taken(changing.scales * sizeof(int));
  state.scales.resize(changing.scales);
  if (!scales.empty()) std::memcpy(state.scales.data(), scales.data(), scales.size());
  state.last_ledger_line = taken(changing.line_bytes);
  return state;
}

}  // namespace lepton::train
