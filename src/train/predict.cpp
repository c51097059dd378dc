// SPDX-License-Identifier: Apache-2.0
// The command `predict`: any HDF5 inputs to HDF5 outputs, row i to row i, in parallel and streaming: each
// compute thread reads a unit of rows, runs the network and writes its rows in place. Nothing is resident but
// one unit per thread. Called by main.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <optional>

#include "base/log.h"
#include "base/workers.h"
#include "data/row_check.h"
#include "model/executor.h"
#include "ops/table.h"
#include "storage/file.h"
#include "train/commands.h"
#include "train/job.h"
#include "train/resume.h"
#include "train/threads.h"

namespace lepton::train {

namespace {

/// "FILE.h5:path/inside" or Error(usage).
std::pair<std::string, std::string> split_place(const std::string& text) {
  const size_t colon = text.rfind(':');
  REQUIRE(colon != std::string::npos && colon > 0 && colon + 1 < text.size(), Exit::usage, "--inputs",
          fmt::format("'{}' is not FILE.h5:PATH", text), "Example: --inputs new.h5:images");
  return {text.substr(0, colon), text.substr(colon + 1)};
}

data::DataSpec inputs_only(const Deck& deck, const Options& options) {
  const auto [file, path] = split_place(options.inputs);
  data::DataSpec spec = deck.data;
  spec.train.reset();
  spec.validation.reset();
  data::SplitSpec inputs;
  inputs.files = {file};
  inputs.inputs = path;
  spec.test = inputs;
  spec.needs_classes = false;
  return spec;
}

/// Where rows go: the byte offsets of the output arrays and an open descriptor.
struct Output {
  int descriptor = -1;
  int64_t scores_offset = 0, classes_offset = -1;
  int64_t outputs = 0;
  std::string path;

  void write(const void* data, size_t bytes, int64_t offset) const {
    const auto* at = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t n = pwrite(descriptor, at, bytes, offset);
      REQUIRE(n > 0, Exit::io, path, "cannot write the predictions", "Is the disk full?");
      at += n;
      offset += n;
      bytes -= static_cast<size_t>(n);
    }
  }
};

/// One compute thread: takes blocks of `unit` rows.
class Predictor {
 public:
  Predictor(const model::Graph& graph, const data::Dataset& dataset, const data::Assembler& assembler,
            const float* parameters, const std::vector<int64_t>& sizes, const Output& output,
            data::BadRows bad_rows)
      : assembler_(assembler),
        parameters_(parameters),
        output_(output),
        bad_rows_(bad_rows),
        executor_(graph, 0, {}, sizes),
        array_(dataset.sources()[0].inputs[0].file, dataset.sources()[0].inputs[0].path),
        row_bytes_(array_.info().row_bytes()) {}

  void rows(int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    bytes_.resize(n * row_bytes_);
    array_.read_rows(begin, end, bytes_);
    pointers_.clear();
    ids_.clear();
    for (int64_t i = 0; i < n; ++i) {
      pointers_.push_back(bytes_.data() + i * row_bytes_);
      ids_.push_back(begin + i);
    }
    check_rows(begin);
    assembler_.inputs(pointers_, executor_.input(n, false));
    const std::span<const float> scores = executor_.forward(n, false, parameters_, ids_, 0);
    scores_.assign(scores.begin(), scores.end());
    classes_.clear();
    for (int64_t i = 0; i < n; ++i) {
      const auto row = std::span(scores_).subspan(i * output_.outputs, output_.outputs);
      if (bad_[i]) std::fill(row.begin(), row.end(), std::numeric_limits<float>::quiet_NaN());
      classes_.push_back(
          bad_[i] ? -1 : static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin()));
    }
    output_.write(scores_.data(), scores.size_bytes(), output_.scores_offset + begin * output_.outputs * 4);
    if (output_.classes_offset >= 0)
      output_.write(classes_.data(), classes_.size() * 4, output_.classes_offset + begin * 4);
  }

 private:
  /// A row with Inf or NaN is an error or, as rows are never left out, gets NaN scores and the class -1.
  /// (What the network makes of it would say nothing: max(NaN, 0) is 0.)
  void check_rows(int64_t begin) {
    const storage::ArrayInfo& info = array_.info();
    bad_.clear();
    for (const std::byte* row : pointers_) {
      bad_.push_back(!data::all_finite(info.type, row, static_cast<int64_t>(row_bytes_) / info.type.bytes));
      REQUIRE(!bad_.back() || bad_rows_ == data::BadRows::skip, Exit::data, info.file + ":" + info.path,
              fmt::format("row {} holds Inf or NaN", begin + static_cast<int64_t>(bad_.size()) - 1),
              "With data.bad_rows = \"skip\" such rows get NaN scores and the class -1.");
    }
  }

  const data::Assembler& assembler_;
  const float* parameters_;
  const Output& output_;
  data::BadRows bad_rows_;
  model::Executor executor_;
  storage::Hdf5Array array_;
  size_t row_bytes_;
  std::vector<std::byte> bytes_;
  std::vector<const std::byte*> pointers_;
  std::vector<int64_t> ids_;
  std::vector<char> bad_;
  std::vector<float> scores_;
  std::vector<int32_t> classes_;
};

/// Removes a file that is not finished, however its making ended.
struct Unfinished {
  std::string path;
  ~Unfinished() {
    if (!path.empty()) unlink(path.c_str());
  }
};

/// **Collective.** Rank 0 creates the file under a temporary name; all open it.
Output create_output(const comm::World& world, const Options& options, int64_t rows, int64_t outputs,
                     bool classes) {
  Output output;
  output.path = options.output + ".tmp";
  output.outputs = outputs;
  std::vector<int64_t> offsets{0, -1};
  comm::agree(world, [&] {
    if (world.rank() != 0) return;
    std::vector<storage::NewArray> arrays{
        {"scores", {storage::StoredType::Kind::floating, 4, false}, {rows, outputs}}};
    if (classes) arrays.push_back({"classes", {storage::StoredType::Kind::signed_integer, 4, false}, {rows}});
    const std::vector<int64_t> made = storage::create_contiguous(output.path, arrays);
    std::copy(made.begin(), made.end(), offsets.begin());
  });
  world.all_max(offsets);
  output.scores_offset = offsets[0];
  output.classes_offset = offsets[1];
  comm::agree(world, [&] {
    output.descriptor = open(output.path.c_str(), O_WRONLY | O_CLOEXEC);
    REQUIRE(output.descriptor >= 0, Exit::io, output.path, "cannot open the output on this node",
            "The output must lie on a file system that all nodes share.");
  });
  return output;
}

/// What scores rows: parameters, and the statistics that normalise the inputs.
struct Model {
  std::string path;
  std::vector<float> parameters;
  data::Statistics statistics;
};

void read_checkpoint(const SavedState& saved, const data::Dataset& dataset, const Options& options,
                     std::span<float> parameters) {
  const auto elements = static_cast<int64_t>(parameters.size());
  const int64_t of_saved = saved.reader.manifest().layout.elements;
  REQUIRE(elements == of_saved, Exit::deck, options.inputs,
          fmt::format("on rows of shape {} this network has {} elements, the one in {} has {}",
                      shape_text(dataset.input_shape()), elements, saved.path, of_saved),
          "Give rows of the shape, and the deck, that the checkpoint was trained with.");
  saved.reader.read("parameters", 0, elements, parameters);
}

/// **Collective.** From a checkpoint; or from a model file, which holds no statistics: those are computed
/// from the train split of `training` again.
Model load_model(const comm::World& world, const Deck& deck, const data::DataSpec& training,
                 const model::Graph& graph, const data::Dataset& dataset, const Options& options) {
  Model model{options.checkpoint.empty() ? deck.run.directory : options.checkpoint, {}, {}};
  model.parameters.resize(graph.layout.elements());
  if (!model.path.ends_with(".safetensors")) {
    const SavedState saved = open_saved(world, model.path);
    comm::agree(world, [&] { read_checkpoint(saved, dataset, options, model.parameters); });
    return {saved.path, std::move(model.parameters), saved.state.statistics};
  }
  comm::agree(world, [&] { read_model_file(model.path, graph, model.parameters); });
  if (training.normalisation == data::Normalisation::none) return model;
  data::Dataset trained_on(world, training);
  model.statistics = data::SampleStore(world, trained_on, deck.run.shm_directory, nullptr).statistics();
  return model;
}

}  // namespace

Exit predict(const comm::World& world, const Options& options) {
  Deck deck = load_deck(world, options);
  const data::DataSpec training = deck.data;
  comm::agree(world, [&] {
    REQUIRE(!options.inputs.empty() && !options.output.empty(), Exit::usage, "predict",
            "needs --inputs FILE.h5:PATH and --output FILE.h5",
            "Example: lepton predict inputs/digits.toml --inputs new.h5:images --output scores.h5");
    deck.data = inputs_only(deck, options);
    ops::cap_instruction_set(deck.run.isa);
  });
  ops::prepare_compute_thread();
  const data::Dataset dataset(world, deck.data);
  const model::Graph graph = graph_for(world, deck, dataset);
  const Model model = load_model(world, deck, training, graph, dataset, options);
  const data::Assembler assembler(dataset, 0, model.statistics);
  const int64_t rows = dataset.sources()[0].rows(), unit = std::min(deck.train.unit_size, rows);
  std::vector<int64_t> sizes{unit};
  if (rows % unit != 0) sizes.push_back(rows % unit);
  const Output output = create_output(world, options, rows, graph.outputs(),
                                      ops::Loss(deck.loss, graph.outputs()).classifies());
  Unfinished unfinished{world.rank() == 0 ? output.path : ""};

  const int threads = threads_of_rank(world, deck.train.threads);
  const int64_t blocks = (rows + unit - 1) / unit;
  std::atomic<int64_t> next{world.rank()};  // blocks of this rank: every size-th
  comm::agree(world, [&] {
    ThreadTeam team(threads);
    team.run([&](int) {
      ops::prepare_compute_thread();
      Predictor predictor(graph, dataset, assembler, model.parameters.data(), sizes, output,
                          deck.data.bad_rows);
      for (int64_t b; (b = next.fetch_add(world.size())) < blocks;)
        predictor.rows(b * unit, std::min(rows, (b + 1) * unit));
    });
    REQUIRE(fsync(output.descriptor) == 0 && close(output.descriptor) == 0, Exit::io, output.path,
            "cannot finish the output", "Is the disk full?");
  });
  comm::agree(world, [&] {
    if (world.rank() != 0) return;
    storage::remove_tree(options.output);
    storage::rename_durably(output.path, options.output);
    unfinished.path.clear();
    log_info(fmt::format("{} rows predicted with {} into {}.", rows, model.path, options.output));
  });
  return Exit::done;
}

}  // namespace lepton::train
