// SPDX-License-Identifier: Apache-2.0
// The command `predict`: any HDF5 inputs to HDF5 outputs, row i to row i, in parallel and streaming: each
// compute thread reads a unit of rows, runs the network and writes its rows in place. Nothing is resident but
// one unit per thread. The output is made beside its place and takes it by one rename, when it is whole.
// Everything that a user can get wrong is refused before rows are read. Called by main.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "base/log.h"
#include "base/workers.h"
#include "data/assembler.h"
#include "data/input_check.h"
#include "data/source_reader.h"
#include "model/executor.h"
#include "ops/table.h"
#include "storage/file.h"
#include "train/commands.h"
#include "train/host_math.h"
#include "train/output_file.h"
#include "train/setup.h"
#include "train/threads.h"
#include "train/trained_model.h"

namespace lepton::train {

namespace {

/// "FILE.h5:path/inside" or Error(usage). FILE.h5 may be a glob.
std::pair<std::string, std::string> split_place(const std::string& text) {
  const size_t colon = text.rfind(':');
  REQUIRE(colon != std::string::npos && colon > 0 && colon + 1 < text.size(), Exit::usage, "--inputs",
          fmt::format("'{}' is not FILE.h5:PATH", text), "Example: --inputs new.h5:images");
  return {text.substr(0, colon), text.substr(colon + 1)};
}

/// Where an item of --inputs belongs: "title", "title.lengths" or "title.offsets".
std::string* place_of(std::vector<data::InputArrays>& inputs, const std::string& name) {
  for (data::InputArrays& input : inputs) {
    if (name == input.name) return &input.values;
    if (name == input.name + ".lengths") return &input.lengths;
    if (name == input.name + ".offsets") return &input.offsets;
  }
  return nullptr;
}

/// "images", a single input; or by the deck's names "title=new/title,body=new/body", in any order.
std::vector<data::InputArrays> input_arrays(const Deck& deck, const std::string& paths) {
  std::vector<data::InputArrays> inputs = deck.data.train->inputs;
  for (data::InputArrays& input : inputs) input = {input.name, "", "", ""};
  const char separator = paths.find('=') == std::string::npos ? '\0' : ',';
  std::istringstream list(paths);
  for (std::string item; std::getline(list, item, separator);) {
    const size_t equals = item.find('=');
    const bool only = equals == std::string::npos && inputs.size() == 1;
    const std::string name = only ? inputs.front().name : item.substr(0, equals);
    const std::string given = only ? item : equals == std::string::npos ? "" : item.substr(equals + 1);
    std::string* const path = place_of(inputs, name);
    REQUIRE(path != nullptr && path->empty() && !given.empty(), Exit::usage, "--inputs",
            fmt::format("'{}' is not NAME=PATH, NAME.lengths=PATH or NAME.offsets=PATH of one of the deck's "
                        "inputs, each once",
                        item),
            "The deck's data.train.inputs names them; one without a name is called input.");
    *path = given;
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const data::InputArrays &input = inputs[i], &trained = deck.data.train->inputs[i];
    const bool ragged = !trained.lengths.empty() || !trained.offsets.empty();
    REQUIRE(!input.values.empty(), Exit::usage, "--inputs",
            fmt::format("the input {} is missing", input.name), fmt::format("Give {}=PATH too.", input.name));
    REQUIRE(ragged == (input.lengths.empty() != input.offsets.empty()), Exit::usage, "--inputs",
            ragged ? fmt::format("rows of the input {} have lengths of their own", input.name)
                   : fmt::format("rows of the input {} have no lengths of their own", input.name),
            ragged ? fmt::format("Give {0}.lengths=PATH or {0}.offsets=PATH too.", input.name)
                   : "Leave its lengths and offsets out.");
  }
  return inputs;
}

data::DataSpec inputs_only(const Deck& deck, const Options& options) {
  const auto [file, paths] = split_place(options.inputs);
  data::DataSpec spec = deck.data;
  spec.train.reset();
  spec.validation.reset();
  data::SplitSpec inputs;
  inputs.files = {file};
  inputs.inputs = input_arrays(deck, paths);
  inputs.position = {"--inputs", 0, 0};
  spec.test = inputs;
  spec.needs_classes = false;
  return spec;
}

/// **Local.** Refuses an output that is what the prediction is made from, by whatever name.
void check_output_is_no_source(const std::string& output, const Deck& deck, const std::string& model,
                               const data::Dataset& dataset) {
  std::vector<std::string> sources{deck.path, model};
  for (const storage::ArrayInfo& array : dataset.sources()[0].inputs.front().arrays)
    sources.push_back(array.file);
  for (const std::string& source : sources)
    for (const std::string& written : {output, unfinished_name(output)})
      REQUIRE(!storage::same_file(written, source), Exit::usage, written,
              fmt::format("the output would take the place of {}, which the prediction is made from", source),
              "Name another file.");
}

/// What the array `classes` holds.
enum class ClassRule { none, largest, above_zero };

/// One output of a binary loss is the logit of class 1. Several are independent labels, of which any number
/// may hold, so there is no class to name; but of binary_dice they are pixels, of one output each.
ClassRule class_rule(const ops::LossSpec& loss, int64_t outputs) {
  if (ops::takes_classes(loss.kind)) return ClassRule::largest;
  return ops::takes_labels(loss.kind) && outputs == 1 ? ClassRule::above_zero : ClassRule::none;
}

int32_t class_of(ClassRule rule, std::span<const float> scores) {
  if (rule == ClassRule::above_zero) return scores[0] > 0;
  return static_cast<int32_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

/// An output of the network: the byte offsets of its arrays, and what its part of a row's scores is.
struct OutputPart {
  int64_t first = 0;                   ///< of a row's scores
  int64_t outputs = 0, positions = 1;  ///< scores of a position, and positions of a row
  ClassRule rule = ClassRule::none;
  int64_t scores_offset = 0, classes_offset = -1;
  int64_t scores() const { return positions * outputs; }
};

/// Where rows go: the unfinished file and its arrays.
struct Output {
  std::string path;
  std::unique_ptr<storage::SharedFile> file;
  std::vector<OutputPart> parts;  ///< one, or those of several losses, side by side in a row
  int64_t scores() const { return parts.back().first + parts.back().scores(); }
};

/// One compute thread: takes blocks of `unit` rows.
class Predictor {
 public:
  Predictor(const model::Graph& graph, const data::Dataset& dataset, const data::Assembler& assembler,
            const float* parameters, const std::vector<int64_t>& sizes, const Output& output,
            const data::DataSpec& spec, ops::Precision precision)
      : assembler_(assembler),
        parameters_(parameters),
        output_(output),
        bad_rows_(spec.bad_rows),
        inputs_(dataset.inputs()),
        executor_(graph, 0, {}, sizes, ops::host_arithmetic(precision)),
        source_(dataset.sources()[0]),
        reader_(source_) {
    for (size_t i = 0; i < inputs_.size(); ++i) {
      model::TableRows rows = model::table_rows(graph, graph.inputs[i]);
      inputs_[i].table_rows = rows.below;
      inputs_[i].column_rows = std::move(rows.columns);
    }
    for (size_t i = 0; i < source_.inputs.size(); ++i) checks_.emplace_back(source_, inputs_[i]);
  }

  int64_t cut() const {
    int64_t sum = 0;
    for (size_t i = 0; i < source_.inputs.size(); ++i) sum += reader_.cut(i);
    return sum;
  }

  void rows(int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    const size_t row_bytes = source_.row_bytes();
    bytes_.resize(n * row_bytes);
    reader_.read(begin, end, bytes_);
    pointers_.clear();
    ids_.clear();
    for (int64_t i = 0; i < n; ++i) {
      pointers_.push_back(bytes_.data() + i * row_bytes);
      ids_.push_back(begin + i);
    }
    check_rows(begin);
    for (size_t i = 0; i < inputs_.size(); ++i)
      assembler_.input(i, pointers_, nullptr, executor_.input(static_cast<int>(i), n, false));
    const std::span<const float> scores = executor_.forward(n, false, parameters_, ids_, 0);
    for (const OutputPart& part : output_.parts) write(part, scores, begin, n);
  }

 private:
  void write(const OutputPart& part, std::span<const float> scores, int64_t begin, int64_t n) {
    scores_.clear();
    classes_.clear();
    for (int64_t i = 0; i < n; ++i) {
      const auto row = scores.subspan(i * output_.scores() + part.first, part.scores());
      if (bad_[i])
        scores_.insert(scores_.end(), row.size(), std::numeric_limits<float>::quiet_NaN());
      else
        scores_.insert(scores_.end(), row.begin(), row.end());
      for (int64_t p = 0; p < part.positions; ++p)
        classes_.push_back(bad_[i] ? -1 : class_of(part.rule, row.subspan(p * part.outputs, part.outputs)));
    }
    output_.file->write(std::as_bytes(std::span(scores_)), part.scores_offset + begin * part.scores() * 4);
    if (part.rule != ClassRule::none)
      output_.file->write(std::as_bytes(std::span(classes_)),
                          part.classes_offset + begin * part.positions * 4);
  }
  /// A row with Inf or NaN is an error or, as rows are never left out, gets NaN scores and the class -1.
  /// (What the network makes of it would say nothing: max(NaN, 0) is 0.)
  void check_rows(int64_t begin) {
    bad_.clear();
    for (int64_t row = begin; const std::byte* values : pointers_) {
      bad_.push_back(false);
      for (int i = 0; i < std::ssize(checks_); ++i) {
        const bool good = checks_[i].good(values);
        REQUIRE(good || bad_rows_ == data::BadRows::skip, Exit::data, source_.place(row, i),
                data::bad_row_text(inputs_[i]),
                "With data.bad_rows = \"skip\" such rows get NaN scores and the class -1.");
        const auto wrong = good ? checks_[i].wrong_number(values) : std::nullopt;
        REQUIRE(!wrong, Exit::data, source_.place(row, i),
                fmt::format("the input {} is not the number of a row in a table of {}", wrong->value,
                            wrong->rows),
                "Inputs must be coded as those that the model was trained on.");
        if (!good) bad_.back() = true;
      }
      ++row;
    }
  }

  const data::Assembler& assembler_;
  const float* parameters_;
  const Output& output_;
  data::BadRows bad_rows_;
  std::vector<data::Input> inputs_;
  std::vector<data::InputCheck> checks_;  // of those that are columns
  model::Executor executor_;
  const data::Source& source_;
  data::SourceReader reader_;
  std::vector<std::byte> bytes_;
  std::vector<const std::byte*> pointers_;
  std::vector<int64_t> ids_;
  std::vector<char> bad_;
  std::vector<float> scores_;
  std::vector<int32_t> classes_;
};

/// The part of an output whose samples have the shape `value`, and its arrays, scores and perhaps classes,
/// whose names begin with `name`. Scores of a sample as they lie in memory: [values], [length, values],
/// [height, width, values], [depth, height, width, values].
OutputPart describe_part(const Shape& value, const ops::LossSpec& loss, const std::string& name, int64_t rows,
                         std::vector<storage::NewArray>& arrays) {
  OutputPart part;
  Shape scores = value;
  if (scores.size() >= 3) std::rotate(scores.begin(), scores.begin() + 1, scores.end());
  Shape classes = scores;
  part.outputs = loss.kind == ops::LossKind::binary_dice ? 1 : scores.back();
  if (loss.kind != ops::LossKind::binary_dice) classes.pop_back();
  part.positions = element_count(scores) / part.outputs;
  part.rule = class_rule(loss, part.outputs);
  for (Shape* shape : {&scores, &classes}) shape->insert(shape->begin(), rows);
  arrays.push_back({name + "scores", {storage::StoredType::Kind::floating, 4, false}, scores});
  if (part.rule != ClassRule::none)
    arrays.push_back({name + "classes", {storage::StoredType::Kind::signed_integer, 4, false}, classes});
  return part;
}

/// **Collective.** Rank 0 creates the file under a temporary name; all open it.
Output create_output(const comm::World& world, const Options& options, int64_t rows,
                     const model::Graph& graph, const Deck& deck) {
  Output output;
  output.path = unfinished_name(options.output);
  std::vector<storage::NewArray> arrays;
  const auto shape = [&](int value) { return graph.values[static_cast<size_t>(value)].shape; };
  for (size_t i = 0; i < deck.losses.size(); ++i) {
    const model::Head& head = graph.heads[i];
    output.parts.push_back(
        describe_part(shape(head.value), deck.losses[i].spec, head.name + ".", rows, arrays));
    output.parts.back().first = head.first;
  }
  if (deck.losses.empty())
    output.parts.push_back(describe_part(shape(graph.nodes.back().output), deck.loss, "", rows, arrays));
  std::vector<int64_t> offsets(arrays.size(), 0);
  comm::agree(world, [&] {
    if (world.rank() == 0) offsets = storage::create_contiguous(output.path, arrays);
  });
  world.all_max(offsets);
  for (size_t next = 0; OutputPart & part : output.parts) {
    part.scores_offset = offsets[next++];
    if (part.rule != ClassRule::none) part.classes_offset = offsets[next++];
  }
  comm::agree(world, [&] { output.file = std::make_unique<storage::SharedFile>(output.path); });
  return output;
}

/// **Collective.** The deck, with the inputs as its only split; refuses what the command line alone shows to
/// be wrong.
Deck deck_for_inputs(const comm::World& world, const Options& options, data::DataSpec& training) {
  Deck deck = load_deck(world, options);
  training = deck.data;
  comm::agree(world, [&] {
    REQUIRE(!options.inputs.empty() && !options.output.empty(), Exit::usage, "predict",
            "needs --inputs FILE.h5:PATH and --output FILE.h5",
            "Example: lepton predict inputs/digits.toml --inputs new.h5:images --output scores.h5");
    deck.data = inputs_only(deck, options);
    if (world.rank() == 0) require_new_output(options.output);
  });
  return deck;
}

/// **Collective.**
void report_cut(const comm::World& world, int64_t cut) {
  std::vector<int64_t> rows{cut};
  world.all_sum(rows);
  if (rows[0] > 0 && world.rank() == 0)
    log_warning(fmt::format("{} rows are longer than those that the model takes, and are cut (data.length).",
                            rows[0]));
}

/// **Rank 0 only.**
void report_end(const Options& options, const std::string& model, int64_t rows, int64_t outputs) {
  log_info(fmt::format("{} rows predicted with {} into {}.", rows, model, options.output));
  if (!options.json) return;
  const nlohmann::ordered_json json{
      {"model", model}, {"output", options.output}, {"rows", rows}, {"outputs", outputs}};
  // A path may be no UTF-8, which JSON must be.
  fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace

Exit predict(const comm::World& world, const Options& options) {
  data::DataSpec training;
  const Deck deck = deck_for_inputs(world, options, training);
  const HostMath host = prepare_host_math(world, deck, DeviceKind::cpu, false);
  const data::Dataset dataset(world, deck.data);
  comm::agree(world, [&] {
    if (world.rank() == 0)
      check_output_is_no_source(options.output, deck, model_path(deck, options), dataset);
  });
  const model::Graph graph = graph_for(world, deck, dataset);
  const TrainedModel model =
      load_model(world, deck, training, graph, dataset, model_path(deck, options), options.inputs);
  const data::Assembler assembler(dataset, 0, model.statistics);
  const int64_t rows = dataset.sources()[0].rows(), unit = std::min(deck.train.unit_size, rows);
  std::vector<int64_t> sizes{unit};
  if (rows % unit != 0) sizes.push_back(rows % unit);
  Unfinished unfinished{world.rank() == 0 ? unfinished_name(options.output) : ""};
  const Output output = create_output(world, options, rows, graph, deck);

  if (deck.train.device != DeviceKind::cpu && world.rank() == 0) log_info("predicting on the CPU.");
  const int threads = threads_of_rank(world, deck.train.threads);
  const int64_t blocks = (rows + unit - 1) / unit;
  std::atomic<int64_t> cut{0};
  std::atomic<int64_t> next{world.rank()};  // blocks of this rank: every size-th
  comm::agree(world, [&] {
    ThreadTeam team(threads);
    team.run([&](int) {
      ops::prepare_compute_thread();
      Predictor predictor(graph, dataset, assembler, model.parameters.data(), sizes, output, deck.data,
                          host.precision);
      for (int64_t b; (b = next.fetch_add(world.size())) < blocks;)
        predictor.rows(b * unit, std::min(rows, (b + 1) * unit));
      cut += predictor.cut();
    });
    output.file->finish();
  });
  report_cut(world, cut);
  comm::agree(world, [&] {
    if (world.rank() != 0) return;
    storage::replace_durably(output.path, options.output);
    unfinished.path.clear();
    report_end(options, model.path, rows, output.scores());
  });
  return Exit::done;
}

}  // namespace lepton::train
