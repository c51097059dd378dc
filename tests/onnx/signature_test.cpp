// SPDX-License-Identifier: Apache-2.0
// What torch.export notes of a program is read: buffers do not learn, lost parameters are told.
#include "onnx/signature.h"

#include <google/protobuf/unknown_field_set.h>

#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using Names = std::vector<std::string>;

void note(ModelText& text, const std::string& key, const std::string& value) {
  messages::StringStringEntryProto entry;
  entry.set_key(key);
  entry.set_value(value);
  messages::GraphProto& graph = *text.message().mutable_graph();
  graph.GetReflection()->MutableUnknownFields(&graph)->AddLengthDelimited(16, entry.SerializeAsString());
}

const char* const signature =
    "\n# inputs\np_w: PARAMETER target='w'\np_old: PARAMETER target='folded.weight'\n"
    "b_t: BUFFER target='table' persistent=True\nb_m: BUFFER target='mean' persistent=True\n"
    "b_v: BUFFER target='variance' persistent=True\nx: USER_INPUT\n\n# outputs\ny: USER_OUTPUT\n";

ModelText program() {
  ModelText text({4});
  text.weights("w", {4, 4})
      .weights("table", {4})
      .floats("scale", {4}, {1, 2, 3, 4})
      .weights("bias", {4})
      .floats("mean", {4}, {0, 0, 0, 0})
      .floats("variance", {4}, {1, 1, 1, 1})
      .node("MatMul", {"x", "w"}, "a")
      .node("Add", {"a", "table"}, "b")
      .node("BatchNormalization", {"b", "scale", "bias", "mean", "variance"}, "y");
  return text;
}

std::map<std::string, bool> frozen_of(const ModelText& text) {
  std::map<std::string, bool> frozen;
  const model::Graph graph = text.import({4});
  for (const ArenaTensor& tensor : graph.layout.tensors()) frozen[tensor.name] = tensor.frozen;
  return frozen;
}

TEST(Signature, ReadsNamesByTheirKind) {
  ModelText text = program();
  EXPECT_TRUE(signature_of(text.message().graph()).parameters.empty());
  note(text, "another key", "p_z: PARAMETER target='z'\n");
  note(text, "pkg.torch.export.ExportedProgram.graph_signature", signature);
  messages::ModelProto again;  // as it comes from a file
  ASSERT_TRUE(again.ParseFromString(text.message().SerializeAsString()));
  EXPECT_EQ(signature_of(again.graph()).parameters, (Names{"w", "folded.weight"}));
  EXPECT_EQ(signature_of(again.graph()).buffers, (std::set<std::string>{"table", "mean", "variance"}));
}

TEST(Signature, BuffersDoNotLearnAndStatisticsGoOn) {
  ModelText text = program();
  EXPECT_FALSE(frozen_of(text).at("table"));
  note(text, "pkg.torch.export.ExportedProgram.graph_signature", signature);
  const std::map<std::string, bool> frozen = frozen_of(text);
  EXPECT_TRUE(frozen.at("table"));
  EXPECT_FALSE(frozen.at("w"));
  EXPECT_FALSE(frozen.at("scale"));
  EXPECT_FALSE(frozen.at("mean"));
  EXPECT_FALSE(frozen.at("variance"));
}

TEST(Signature, TellsWhatAnExporterFolded) {
  ModelText text = program();
  const auto lost = [&] {
    TensorNotes notes;
    ImportSpec spec{"net.onnx", {}, {4}};
    spec.notes = &notes;
    import_network(text.message().SerializeAsString(), spec);
    return notes.lost;
  };
  EXPECT_EQ(lost(), Names{});
  note(text, "pkg.torch.export.ExportedProgram.graph_signature", signature);
  EXPECT_EQ(lost(), Names{"folded.weight"});
}

/// What a file shares that shows all parameters is what the program shares.
TEST(Signature, NothingIsUntiedWhereNothingIsMerged) {
  for (const bool whole : {false, true}) {
    ModelText text({3});
    text.weights("v", {3, 3}).weights("w", {3, 3}).weights("b", {3}).floats("ones", {3}, {1, 1, 1});
    text.node("Gemm", {"x", "v", "b"}, "p")
        .node("RMSNormalization", {"p", "ones"}, "n")
        .node("Gemm", {"n", "w", "b"}, "q")
        .node("RMSNormalization", {"q", "ones"}, "y");
    note(text, "pkg.torch.export.ExportedProgram.graph_signature",
         std::string("p_v: PARAMETER target='v'\np_w: PARAMETER target='w'\np_b: PARAMETER target='b'\n") +
             (whole ? "" : "p_c: PARAMETER target='c'\n"));
    EXPECT_EQ(text.import({3}).layout.tensors().size(), whole ? 4U : 6U);
  }
}

}  // namespace
}  // namespace lepton::onnx
