// SPDX-License-Identifier: Apache-2.0
// The command `prepare`: text files to an HDF5 file of tokens, in parallel, with the vocabulary beside them;
// or a graph to one sample (prepare_graph). A running text becomes train/tokens and, its end,
// validation/tokens, for data.sequence. Labelled text (a file per class, a sample per line) becomes rows of
// one length: tokens [N, T], filled up with padding, lengths [N] and labels [N]. The same bytes for any
// number of ranks. Called by main.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "comm/pack.h"
#include "data/vocabulary.h"
#include "storage/file.h"
#include "storage/hdf5.h"
#include "train/commands.h"
#include "train/output_file.h"
#include "train/prepare_graph.h"

namespace lepton::train {

namespace {

using storage::StoredType;

constexpr StoredType integer(int bytes, bool sign = false) {
  return {sign ? StoredType::Kind::signed_integer : StoredType::Kind::unsigned_integer, bytes, false};
}
StoredType number_type(const data::Vocabulary& vocabulary) {
  return integer(vocabulary.size() <= 256 ? 1 : vocabulary.size() <= 65536 ? 2 : 4);
}

/// Numbers of one array, written from an element of it on, in pieces.
class ArrayWriter {
 public:
  ArrayWriter(storage::SharedFile& file, const StoredType& type, int64_t array_offset, int64_t first)
      : file_(file), bytes_each_(type.bytes), at_(array_offset + first * type.bytes) {}
  ArrayWriter(const ArrayWriter&) = delete;
  ArrayWriter& operator=(const ArrayWriter&) = delete;

  void put(int64_t number) {
    for (int i = 0; i < bytes_each_; ++i) piece_.push_back(static_cast<std::byte>(number >> (8 * i)));
    if (piece_.size() >= piece_bytes) flush();
  }
  void flush() {
    file_.write(piece_, at_);
    at_ += std::ssize(piece_);
    piece_.clear();
  }

 private:
  static constexpr size_t piece_bytes = 1 << 20;
  storage::SharedFile& file_;
  int bytes_each_;
  int64_t at_;
  std::vector<std::byte> piece_;
};

/// What a rank has of the text.
struct Share {
  int64_t before = 0, count = 0, total = 0;  ///< tokens, or rows: of the ranks before, its own, all
  int64_t longest = 0;                       ///< tokens of a row, of all ranks
};

Share share_out(const comm::World& world, int64_t count, int64_t longest) {
  Share share{0, count, 0, 0};
  const std::vector<std::string> packed = world.all_gather(comm::pack(std::pair(count, longest)));
  for (int rank = 0; rank < world.size(); ++rank) {
    const auto [theirs, length] =
        comm::unpack<std::pair<int64_t, int64_t>>(packed[static_cast<size_t>(rank)], "counts of tokens");
    if (rank < world.rank()) share.before += theirs;
    share.total += theirs;
    share.longest = std::max(share.longest, length);
  }
  return share;
}

/// Text to prepare, as it was asked for.
struct Preparation {
  const Options& options;
  data::TextFiles text;
  data::VocabularySpec spec;
  data::Vocabulary vocabulary;

  int64_t tokens_of(std::string_view line) const {
    int64_t count = 0;
    data::for_tokens(spec.kind, line, spec.line_ends, [&](std::string_view) { ++count; });
    return count;
  }
};

void require_unchanged(const Preparation& job, bool unchanged) {
  REQUIRE(unchanged, Exit::data, job.text.paths().front(), "the text has changed while it was read",
          "Start again when nobody writes to it.");
}

/// **Collective.** Rank 0 creates the file with its arrays and the vocabulary; the offsets of the arrays.
std::vector<int64_t> create(const comm::World& world, const Preparation& job,
                            std::vector<storage::NewArray> arrays) {
  const size_t own = arrays.size();
  std::vector<int64_t> offsets(own);
  comm::agree(world, [&] {
    if (world.rank() != 0) return;
    const std::string path = unfinished_name(job.options.target);
    const data::StoredVocabulary vocabulary = data::stored(job.vocabulary);
    arrays.push_back({"vocabulary/bytes", integer(1), {std::ssize(vocabulary.bytes)}});
    arrays.push_back({"vocabulary/offsets", integer(8, true), {std::ssize(vocabulary.offsets)}});
    arrays.push_back({"vocabulary/kind", integer(1), {1}});
    const std::vector<int64_t> made = storage::create_contiguous(path, arrays);
    std::copy_n(made.begin(), own, offsets.begin());
    storage::SharedFile file(path);
    file.write(std::as_bytes(std::span(vocabulary.bytes)), made[own]);
    file.write(std::as_bytes(std::span(vocabulary.offsets)), made[own + 1]);
    file.write(std::as_bytes(std::span(vocabulary.kind)), made[own + 2]);
    file.finish();
  });
  world.all_max(offsets);
  return offsets;
}

/// Tokens of a running text; the last of them are for validation.
nlohmann::ordered_json write_stream(const comm::World& world, const Preparation& job) {
  int64_t own = 0;
  comm::agree(world, [&] {
    job.text.lines(world.rank(), world.size(),
                   [&](size_t, std::string_view line) { own += job.tokens_of(line); });
  });
  const Share share = share_out(world, own, 0);
  const auto trained =
      static_cast<int64_t>(std::floor((1 - job.options.validation) * static_cast<double>(share.total)));
  const int64_t held_out = share.total - trained;
  comm::agree(world, [&] {
    REQUIRE(trained > 0, Exit::data, job.text.paths().front(), "no token is left to train on", "");
  });
  const StoredType type = number_type(job.vocabulary);
  std::vector<storage::NewArray> arrays = {{"train/tokens", type, {trained}}};
  if (held_out > 0) arrays.push_back({"validation/tokens", type, {held_out}});
  const std::vector<int64_t> offsets = create(world, job, arrays);
  comm::agree(world, [&] {
    storage::SharedFile file(unfinished_name(job.options.target));
    const int64_t validated = std::max<int64_t>(0, share.before - trained);
    ArrayWriter train(file, type, offsets[0], share.before),
        validation(file, type, held_out > 0 ? offsets[1] : 0, validated);
    int64_t at = share.before;
    job.text.lines(world.rank(), world.size(), [&](size_t, std::string_view line) {
      data::for_tokens(job.spec.kind, line, job.spec.line_ends, [&](std::string_view token) {
        (at++ < trained ? train : validation).put(job.vocabulary.number(token));
      });
    });
    train.flush();
    validation.flush();
    require_unchanged(job, at == share.before + share.count);
    file.finish();
  });
  return {{"train/tokens", trained}, {"validation/tokens", held_out}};
}

/// Rows of labelled text.
nlohmann::ordered_json write_rows(const comm::World& world, const Preparation& job) {
  int64_t own = 0, longest = 0;
  comm::agree(world, [&] {
    job.text.lines(world.rank(), world.size(), [&](size_t, std::string_view line) {
      const int64_t length = job.tokens_of(line);
      own += length > 0;
      longest = std::max(longest, length);
    });
  });
  const Share share = share_out(world, own, longest);
  const int64_t length = job.options.length > 0 ? job.options.length : share.longest;
  comm::agree(world, [&] {
    REQUIRE(share.total > 0, Exit::data, job.text.paths().front(), "there are no tokens in this text", "");
  });
  const StoredType type = number_type(job.vocabulary), integers = integer(4, true);
  const std::vector<int64_t> offsets = create(world, job,
                                              {{"tokens", type, {share.total, length}},
                                               {"lengths", integers, {share.total}},
                                               {"labels", integers, {share.total}}});
  comm::agree(world, [&] {
    storage::SharedFile file(unfinished_name(job.options.target));
    ArrayWriter tokens(file, type, offsets[0], share.before * length),
        lengths(file, integers, offsets[1], share.before), labels(file, integers, offsets[2], share.before);
    int64_t rows = 0;
    job.text.lines(world.rank(), world.size(), [&](size_t label, std::string_view line) {
      int64_t count = 0;
      data::for_tokens(job.spec.kind, line, job.spec.line_ends, [&](std::string_view token) {
        if (count++ < length) tokens.put(job.vocabulary.number(token));
      });
      if (count == 0) return;
      for (int64_t i = count; i < length; ++i) tokens.put(data::padding_token);
      lengths.put(std::min(count, length));
      labels.put(static_cast<int64_t>(label));
      ++rows;
    });
    for (ArrayWriter* writer : {&tokens, &lengths, &labels}) writer->flush();
    require_unchanged(job, rows == share.count);
    file.finish();
  });
  return {{"rows", share.total}, {"length", length}, {"longest", share.longest}};
}

data::VocabularySpec vocabulary_spec(const Options& options) {
  data::VocabularySpec spec;
  spec.kind = options.tokens == "bytes"   ? data::TokenKind::bytes
              : options.tokens == "words" ? data::TokenKind::words
                                          : data::TokenKind::characters;
  if (options.vocabulary > 0) spec.words_most = options.vocabulary;
  spec.padded = options.labelled;
  spec.line_ends = !options.labelled;
  return spec;
}

void check_options(const Options& options) {
  REQUIRE(options.texts.empty() != options.graph.empty(), Exit::usage, "prepare", "it takes texts or a graph",
          "Give --text (repeatable) or --graph.");
  REQUIRE(!options.feature_shares || !options.graph.empty(), Exit::usage, "--feature-shares",
          "it is for the features of a graph", "");
  REQUIRE(!options.labelled || options.validation == 0, Exit::usage, "--validation",
          "labelled text is not split here", "Give the splits of the deck a fraction each.");
  REQUIRE(options.labelled || options.length == 0, Exit::usage, "--length",
          "it is the length of labelled rows", "A running text is cut by data.sequence of the deck.");
  REQUIRE(options.vocabulary == 0 || options.tokens == "words", Exit::usage, "--vocabulary",
          "it limits words; of bytes and characters all are kept", "Leave it out, or give --tokens words.");
  REQUIRE(!options.labelled || options.texts.size() > 1, Exit::usage, "--labelled",
          "one file is one class, and there is only one", "Give --text once for each class.");
}

/// What was made takes its place, and is told.
void finish(const Options& options, Unfinished& unfinished, nlohmann::ordered_json report) {
  storage::replace_durably(unfinished.path, options.target);
  unfinished.path.clear();
  if (options.json) {
    report["output"] = options.target;
    fmt::print("{}\n", report.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    return;
  }
  std::string text;
  for (const auto& [name, value] : report.items())
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, value.dump());
  log_info(fmt::format("{}: {}.", options.target, text));
}

}  // namespace

Exit prepare(const comm::World& world, const Options& options) {
  comm::agree(world, [&] {
    check_options(options);
    if (world.rank() == 0) require_new_output(options.target);
  });
  Unfinished unfinished{world.rank() == 0 ? unfinished_name(options.target) : ""};
  if (!options.graph.empty()) {
    comm::agree(world, [&] {
      if (world.rank() == 0)
        finish(options, unfinished, prepare_graph(options.graph, options.feature_shares, unfinished.path));
    });
    return Exit::done;
  }
  std::unique_ptr<Preparation> job;
  comm::agree(world, [&] {
    job.reset(new Preparation{options, data::TextFiles(options.texts), vocabulary_spec(options), {}});
  });
  job->vocabulary = data::count_vocabulary(world, job->text, job->spec);
  nlohmann::ordered_json report = options.labelled ? write_rows(world, *job) : write_stream(world, *job);
  comm::agree(world, [&] {
    if (world.rank() != 0) return;
    report["vocabulary"] = job->vocabulary.size();
    finish(options, unfinished, std::move(report));
  });
  return Exit::done;
}

}  // namespace lepton::train
