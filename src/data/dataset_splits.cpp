// SPDX-License-Identifier: Apache-2.0
// Splits as sets of rows, and the map from sample ids to rows. By fraction: the good rows of the source are
// shuffled by (seed), train takes the first part, validation the next, test the last, so they are disjoint
// and N is settled before the permutation. Bad rows are taken out by their sorted list (binary search), never
// by an index array. Rows that the files list are bits (RowSet), bad ones are taken out of them.
#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/log.h"
#include "base/philox.h"
#include "data/dataset.h"

namespace lepton::data {

namespace {

constexpr double share_tolerance = 1e-9;  // 0.8 + 0.1 + 0.1 is a little off 1 in binary

/// The rows of a split that is no share of them.
RowSet rows_of(const SplitInfo& split, int64_t rows) {
  if (split.listed()) return split.rows;
  RowSet set(rows);
  set.insert(split.first, split.end);
  return set;
}

RowSet shared_rows(const SplitInfo& a, const SplitInfo& b, int64_t rows) {
  RowSet shared = rows_of(a, rows);
  shared.keep(rows_of(b, rows));
  shared.settle();
  return shared;
}

}  // namespace

/// Do their rows hold the same samples? Their targets may lie in other arrays.
static bool same_samples(const Source& a, const Source& b) {
  const auto same_arrays = [](const Column& x, const Column& y) {
    return std::ranges::equal(x.arrays, y.arrays,
                              [](const storage::ArrayInfo& m, const storage::ArrayInfo& n) {
                                return m.file == n.file && m.path == n.path;
                              });
  };
  return &a == &b || std::ranges::equal(a.inputs, b.inputs, same_arrays);
}

/// May they share rows, so that this is to be looked at? Of nodes of a graph each split has other targets.
bool Dataset::comparable(SplitKind a, SplitKind b) const {
  if (!has(a) || !has(b)) return false;
  if (split(a).source == split(b).source) return true;
  return !spec_.ignored_class && (split(a).listed() || split(b).listed()) &&
         same_samples(sources_[static_cast<size_t>(split(a).source)],
                      sources_[static_cast<size_t>(split(b).source)]);
}

void Dataset::warn_of_overlaps() const {
  for (const SplitKind a : all_splits)
    for (const SplitKind b : all_splits) {
      if (a >= b || !comparable(a, b) || split(a).by_fraction || split(b).by_fraction) continue;
      const bool listed = split(a).listed() || split(b).listed();
      const int64_t rows = sources_[static_cast<size_t>(split(a).source)].rows();
      const int64_t shared =
          listed ? shared_rows(split(a), split(b), rows).size()
                 : std::min(split(a).end, split(b).end) - std::max(split(a).first, split(b).first);
      if (shared > 0)
        log_warning(std::string("The splits ") + split_name(a) + " and " + split_name(b) + " share " +
                    std::to_string(shared) + " rows.");
    }
}

/// As with rows in the deck: rows that are named for training are not named for another split too. (Whole
/// arrays beside a part of them only bring a warning.)
void Dataset::refuse_trained_rows() const {
  for (const SplitKind kind : {SplitKind::validation, SplitKind::test}) {
    if (!comparable(SplitKind::train, kind)) continue;
    const SplitSpec &trained = *spec_.train, &other = *split_spec(spec_, kind);
    if (!trained.part() || !other.part() || !(trained.listed() || other.listed())) continue;
    const Source& source = sources_[static_cast<size_t>(split(kind).source)];
    const RowSet shared = shared_rows(split(SplitKind::train), split(kind), source.rows());
    REQUIRE(shared.size() == 0, Exit::data, source.place(shared.front(), 0),
            std::string("the ") + split_name(kind) + " split has " + std::to_string(shared.size()) +
                (shared.size() == 1 ? " row" : " rows") + " that the train split has too; this is the first",
            "Leave them out of one of the two: figures of rows that were trained on measure nothing.");
  }
}

void Dataset::resolve_splits(const std::vector<int>& source_of_split, std::vector<RowSet> rows_of_split) {
  for (size_t source = 0; source < sources_.size(); ++source) {
    std::vector<SplitKind> members;
    bool some = false, all = true;
    for (const SplitKind kind : all_splits) {
      if (source_of_split[static_cast<size_t>(kind)] != static_cast<int>(source)) continue;
      members.push_back(kind);
      const bool fraction = split_spec(spec_, kind)->fraction.has_value();
      some |= fraction;
      all &= fraction;
      SplitInfo& split = splits_[static_cast<size_t>(kind)].emplace();
      split.source = static_cast<int>(source);
      split.rows = std::move(rows_of_split[static_cast<size_t>(kind)]);
    }
    REQUIRE(!some || all, Exit::deck, split_spec(spec_, members.front())->position.text(),
            "splits of the same arrays mix fractions with whole arrays or rows, and would overlap",
            "Give each of them a fraction, for example train 0.8, validation 0.1, test 0.1.");
    if (all) {
      resolve_fractions(static_cast<int>(source), members);
      continue;
    }
    Source& rows = sources_[source];
    rows.used_begin = rows.rows();
    for (const SplitKind kind : members) resolve_rows(static_cast<int>(source), kind);
    if (std::ranges::none_of(members, [&](SplitKind kind) { return split(kind).listed(); })) continue;
    rows.used = RowSet(rows.rows());
    for (const SplitKind kind : members) rows.used.insert(rows_of(split(kind), rows.rows()));
  }
  refuse_trained_rows();
}

/// A split by rows, by a list of them, or of all.
void Dataset::resolve_rows(int source, SplitKind kind) {
  Source& rows = sources_[static_cast<size_t>(source)];
  const SplitSpec& text = *split_spec(spec_, kind);
  SplitInfo& split = *splits_[static_cast<size_t>(kind)];
  auto [from, to] = text.rows.value_or(std::pair<int64_t, int64_t>(0, rows.rows()));
  if (split.listed()) std::tie(from, to) = std::pair(split.rows.front(), split.rows.back() + 1);
  REQUIRE(0 <= from && from < to && to <= rows.rows(), Exit::deck, text.position.text(),
          std::string(split_name(kind)) + ".rows = [" + std::to_string(from) + ", " + std::to_string(to) +
              "] is not a part of the dataset's " + std::to_string(rows.rows()) + " rows",
          "rows = [from, to] means from <= row < to, counted from 0.");
  split.first = from;
  split.end = to;
  rows.used_begin = std::min(rows.used_begin, from);
  rows.used_end = std::max(rows.used_end, to);
}

void Dataset::resolve_fractions(int source, const std::vector<SplitKind>& members) {
  double share = 0;
  for (const SplitKind kind : members) {
    const SplitSpec& text = *split_spec(spec_, kind);
    SplitInfo& split = *splits_[static_cast<size_t>(kind)];
    REQUIRE(!text.rows && !text.listed(), Exit::deck, text.position.text(),
            "a split takes rows or a fraction, not both", "");
    REQUIRE(*text.fraction > 0 && *text.fraction <= 1, Exit::deck, text.position.text(),
            std::string(split_name(kind)) + ".fraction is not in (0, 1]", "");
    split.by_fraction = true;
    split.from_share = share;
    split.to_share = share += *text.fraction;
    REQUIRE(share <= 1 + share_tolerance, Exit::deck, text.position.text(),
            "the fractions of the splits of these arrays add up to more than 1", "");
  }
  sources_[static_cast<size_t>(source)].used_end = sources_[static_cast<size_t>(source)].rows();
}

void Dataset::settle(std::vector<std::vector<int64_t>> bad_rows) {
  bad_rows_ = std::move(bad_rows);
  permutations_.clear();
  for (size_t source = 0; source < sources_.size(); ++source) {
    const int64_t good = sources_[source].rows() - static_cast<int64_t>(bad_rows_[source].size());
    permutations_.emplace_back(stream_key(spec_.seed, Purpose::split, 0), good);
  }
  for (const SplitKind kind : all_splits) {
    if (!has(kind)) continue;
    SplitInfo& split = *splits_[static_cast<size_t>(kind)];
    if (split.listed()) {
      for (const int64_t row : bad_rows_[static_cast<size_t>(split.source)]) split.rows.erase(row);
      split.rows.settle();
    }
    const int64_t good = permutations_[static_cast<size_t>(split.source)].size();
    const double size = static_cast<double>(good);
    split.first_good =
        split.by_fraction ? std::llround(split.from_share * size) : good_before(split.source, split.first);
    const int64_t end = split.by_fraction ? std::min<int64_t>(good, std::llround(split.to_share * size))
                                          : good_before(split.source, split.end);
    split.samples = split.listed() ? split.rows.size() : end - split.first_good;
    const Column& rows = sources_[static_cast<size_t>(split.source)].inputs.front();
    REQUIRE(split.samples > 0, Exit::data, rows.place(),
            std::string("the ") + split_name(kind) + " split has no rows",
            split.listed() ? "All rows that are listed for it are bad ones."
                           : "Make its fraction or rows larger.");
  }
}

const SplitInfo& Dataset::split(SplitKind kind) const {
  CHECK(has(kind), std::string("no split ") + split_name(kind));
  return *splits_[static_cast<size_t>(kind)];
}

int64_t Dataset::good_before(int source, int64_t row) const {
  const auto& bad = bad_rows_[static_cast<size_t>(source)];
  return row - (std::lower_bound(bad.begin(), bad.end(), row) - bad.begin());
}

/// The index-th good row: with k bad rows before it, it is index + k, and bad[k'] - k' <= index holds for k'
/// < k only.
int64_t Dataset::good_row(int source, int64_t index) const {
  const auto& bad = bad_rows_[static_cast<size_t>(source)];
  int64_t low = 0, high = static_cast<int64_t>(bad.size());
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (bad[static_cast<size_t>(middle)] - middle <= index)
      low = middle + 1;
    else
      high = middle;
  }
  return index + low;
}

int64_t Dataset::row_of(SplitKind kind, int64_t sample) const {
  const SplitInfo& split = this->split(kind);
  CHECK(sample >= 0 && sample < split.samples, "sample " + std::to_string(sample));
  if (split.listed()) return split.rows[sample];
  const int64_t position = split.first_good + sample;
  return good_row(split.source,
                  split.by_fraction ? permutations_[static_cast<size_t>(split.source)](position) : position);
}

bool Dataset::contains(SplitKind kind, int64_t row) const {
  const SplitInfo& split = this->split(kind);
  if (split.listed()) return split.rows.contains(row);
  const auto& bad = bad_rows_[static_cast<size_t>(split.source)];
  if (std::binary_search(bad.begin(), bad.end(), row)) return false;
  int64_t position = good_before(split.source, row);
  if (split.by_fraction) position = permutations_[static_cast<size_t>(split.source)].inverse(position);
  return position >= split.first_good && position < split.first_good + split.samples;
}

}  // namespace lepton::data
