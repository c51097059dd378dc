// SPDX-License-Identifier: Apache-2.0
// The debug engine gives the bits of the host's ops and of its functions for the step, enqueued and recorded,
// and refuses memory that is not the device's. What the host computes is tested where it is computed.
#include "ops/debug_engine.h"

#include <algorithm>
#include <functional>

#include "ops/bf16.h"
#include "ops/device_rig.h"
#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

void expect_same(const Results& got, const Results& want, const std::string& what) {
  const auto expect_all = [&](const std::vector<Floats>& a, const std::vector<Floats>& b, const char* part) {
    ASSERT_EQ(a.size(), b.size()) << what << part;
    for (size_t i = 0; i < a.size(); ++i) expect_bits(a[i], b[i], what + part + std::to_string(i));
  };
  expect_bits(got.output, want.output, what + ": output");
  expect_all(got.statistics, want.statistics, ": statistic ");
  expect_all(got.input_gradients, want.input_gradients, ": input gradient ");
  expect_all(got.parameter_gradients, want.parameter_gradients, ": parameter gradient ");
}

OpSpec dense(int64_t n, int64_t in, int64_t out, const std::string& activation = "") {
  return completed({.type = "Gemm",
                    .attributes = {{"transB", int64_t{1}}},
                    .activation = activation,
                    .samples = n,
                    .training = true,
                    .inputs = {{in}},
                    .parameters = {{out, in}, {out}}});
}

std::vector<OpSpec> odd_ops() {
  const OpSpec convolution = {.type = "Conv",
                              .attributes = {{"kernel_shape", std::vector<int64_t>{3, 2}},
                                             {"strides", std::vector<int64_t>{2, 1}},
                                             {"pads", std::vector<int64_t>{1, 0, 2, 1}}},
                              .samples = 3,
                              .training = true,
                              .inputs = {{3, 7, 5}},
                              .parameters = {{5, 3, 3, 2}, {5}}};
  const OpSpec norm = {.type = "BatchNormalization",
                       .samples = 3,
                       .training = true,
                       .inputs = {{5, 3, 7}},
                       .parameters = {{5}, {5}, {5}, {5}}};
  const OpSpec dropout = {.type = "Dropout",
                          .attributes = {{"ratio", 0.3}},
                          .samples = 3,
                          .training = true,
                          .inputs = {{5, 3, 7}},
                          .random_key = 99};
  OpSpec inference = norm;
  inference.training = false;
  return {dense(5, 7, 3),         dense(3, 33, 11, "Relu"), dense(2, 1025, 75, "Relu"),  // gradient in parts
          completed(convolution), completed(norm),          completed(inference),       completed(dropout)};
}

TEST(DebugEngine, SaysWhatItIs) {
  Rig rig;
  EXPECT_EQ(rig.engine.device(), (Device{DeviceKind::debug, 0, rig.engine.backend.get()}));
  EXPECT_EQ(rig.engine.libraries, math_library_version() + ", fp32");
  EXPECT_EQ(rig.engine.backend->properties().bytes_total, size_t{64} << 20);
}

TEST(DebugEngine, OpsGiveTheBitsOfTheHost) {
  bool parts = false;
  for (const OpSpec& spec : odd_ops())
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const Operands operands = random_operands(spec, 5);
      const Results want = run_op(spec, operands);
      Rig rig(seed);
      DeviceRun run(rig, spec);
      run.upload(operands);
      run.enqueue();
      expect_same(run.results(), want, spec.type + ", seed " + std::to_string(seed));
      parts = parts || make_op(spec)->gradient_parts().count > 1;
    }
  EXPECT_TRUE(parts) << "no op gave its gradient in parts";
}

using DebugEngineBf16 = InBf16;

TEST_F(DebugEngineBf16, ProductsInBf16GiveTheBitsOfTheHost) {
  Rig rig("debug", Precision::bf16);
  EXPECT_TRUE(rig.engine.libraries.ends_with(", bf16")) << rig.engine.libraries;
  for (const OpSpec& spec : odd_ops()) {
    const Operands operands = random_operands(spec, 5);
    DeviceRun run(rig, spec);
    run.upload(operands);
    run.enqueue();
    const Results want = run_op(in_bf16(spec), operands);
    expect_same(run.results(), want, spec.type);
    if (spec.type == "Gemm" || spec.type == "Conv") {
      EXPECT_NE(want.output, run_op(spec, operands).output) << spec.type;
    }
  }
}

TEST(DebugEngine, RecordedOpsWorkOnWhatTheirMemoryHoldsThen) {
  for (const OpSpec& spec : odd_ops()) {
    Rig rig;
    DeviceRun run(rig, spec);
    const auto recording = rig.engine.backend->record(*rig.engine.queue, [&] { run.enqueue(); });
    for (uint32_t launch = 0; launch < 3; ++launch) {
      Operands operands = random_operands(spec, 5 + 10 * launch);
      operands.step = 3 + launch;
      operands.sample_ids[0] += launch;
      run.upload(operands);
      recording->launch(*rig.engine.queue);
      expect_same(run.results(), run_op(spec, operands), spec.type + ", launch " + std::to_string(launch));
    }
  }
}

TEST(DebugEngine, AddsAndFindsWhatIsNotFinite) {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    Rig rig(seed);
    Arithmetic& arithmetic = *rig.engine.arithmetic;
    Floats want = random_floats(1001, 1);
    const Floats from = random_floats(1001, 2);
    float *const a = rig.up(want), *const b = rig.up(from);
    arithmetic.add(a, b, 1001);
    host_arithmetic().add(want.data(), from.data(), 1001);
    EXPECT_TRUE(arithmetic.all_finite(a, 1001));
    expect_bits(rig.down(a, 1001), want, "sum");
    rig.write(b + 1000, {NAN});
    arithmetic.add(a, b, 1001);
    EXPECT_FALSE(arithmetic.all_finite(a, 1001));  // after what was enqueued before
    EXPECT_TRUE(arithmetic.all_finite(a, 1000));
  }
}

TEST(DebugEngine, RefusesWhatIsNotDeviceMemory) {
  Rig rig;
  Arithmetic& arithmetic = *rig.engine.arithmetic;
  Floats host(16);
  float *const device = rig.room(16), *const pinned = rig.room(16, MemoryKind::pinned);
  for (float* const bad : {host.data(), pinned, device + 4096}) {
    EXPECT_THROW(arithmetic.add(bad, device, 8), Error);
    EXPECT_THROW(arithmetic.add(device, bad, 8), Error);
    EXPECT_THROW(arithmetic.all_finite(bad, 8), Error);
    EXPECT_THROW(rig.engine.step_math->hash_blocks(bad, 16, 0, 1, rig.room<uint64_t>(1)), Error);
  }
  EXPECT_THROW(arithmetic.add(device, device, 4097), Error);  // behind the end of its pages
  std::vector<uint64_t> hashes(1);
  EXPECT_THROW(rig.engine.step_math->hash_blocks(device, 16, 0, 1, hashes.data()), Error);
}

/// Of an op's operands, number `bad` on the host.
void run_with_host_memory(Rig& rig, int bad, std::vector<std::unique_ptr<Op>>& kept) {
  static float host[64];
  int number = 0;
  const auto place = [&] { return number++ == bad ? host : rig.room(64); };
  const OpSpec spec = completed({.type = "BatchNormalization",
                                 .activation = "Relu",
                                 .samples = 2,
                                 .training = true,
                                 .inputs = {{3}},
                                 .parameters = {{3}, {3}, {3}, {3}}});
  Op* const op = kept.emplace_back(rig.engine.arithmetic->make_op(spec)).get();  // work may run later
  const float* const input[] = {place()};
  const float* const parameters[] = {place(), place(), place(), place()};
  float *const output = place(), *const output_gradient = place();
  float* const statistics[] = {place(), place()};
  float* const input_gradient[] = {place()};
  float* const parameter_gradients[] = {place(), place(), nullptr, nullptr};
  auto* const ids = reinterpret_cast<int64_t*>(place());
  auto* const saved = reinterpret_cast<std::byte*>(place());
  auto* const step = reinterpret_cast<uint32_t*>(place());
  auto* const scratch = reinterpret_cast<std::byte*>(place());
  const UnitContext unit{{ids, 2}, step};
  op->forward({input, parameters, output, statistics, saved, scratch, &unit});
  op->backward({input, parameters, output, output_gradient, input_gradient, parameter_gradients, saved,
                scratch, &unit});
}

TEST(DebugEngine, OpsRefuseEveryOperandThatIsNotOnTheDevice) {
  std::vector<std::unique_ptr<Op>> kept;
  Rig rig;
  EXPECT_NO_THROW(run_with_host_memory(rig, -1, kept));
  rig.engine.queue->synchronize();
  for (int operand = 0; operand < 16; ++operand)
    EXPECT_THROW(run_with_host_memory(rig, operand, kept), Error) << "operand " << operand;
}

template <class Run, class T>
std::function<void(Run&, void*)> field(T* Run::*member) {
  return [=](Run& run, void* memory) { run.*member = static_cast<T*>(memory); };
}
/// The same for a pointer within run.sums or run.table.
template <class Run, class Part, class T>
std::function<void(Run&, void*)> field(Part Run::*part, T* Part::*member) {
  return [=](Run& run, void* memory) { run.*part.*member = static_cast<T*>(memory); };
}

/// With all pointers on the device a run is accepted, with any one of them on the host it is not. All is
/// recorded, so that nothing happens.
template <class Run>
void expect_refusals(void (StepMath::*math)(const Run&), Run run,
                     const std::vector<std::function<void(Run&, void*)>>& fields) {
  Rig rig;
  void* const device = rig.room(1 << 18);
  std::vector<float> host(1 << 18);
  const auto enqueue = [&](const Run& own) {
    rig.engine.backend->record(*rig.engine.queue, [&] { (rig.engine.step_math.get()->*math)(own); });
  };
  for (const auto& set : fields) set(run, device);
  EXPECT_NO_THROW(enqueue(run));
  for (size_t i = 0; i < fields.size(); ++i) {
    Run bad = run;
    fields[i](bad, host.data());
    EXPECT_THROW(enqueue(bad), Error) << "pointer " << i;
  }
}

TEST(DebugEngine, StepMathRefusesEveryPointerThatIsNotTheDevices) {
  LossRun loss;
  loss.samples = 5;
  loss.outputs = 3;
  loss.tally = {3, true};
  expect_refusals<LossRun>(
      &StepMath::loss, loss,
      {field(&LossRun::scores), field(&LossRun::classes), field(&LossRun::values), field(&LossRun::gradient),
       field(&LossRun::class_weights), field(&LossRun::counts), field(&LossRun::per_sample),
       field(&LossRun::tag), field(&LossRun::reports)});
  QuantiseRun quantise;
  quantise.tensor = 2;
  quantise.begin = 5000;
  quantise.count = 5000;
  expect_refusals<QuantiseRun>(
      &StepMath::quantise_add, quantise,
      {field(&QuantiseRun::values), field(&QuantiseRun::sums, &DeviceSums::elements),
       field(&QuantiseRun::sums, &DeviceSums::checksums), field(&QuantiseRun::sums, &DeviceSums::magnitudes),
       field(&QuantiseRun::sums, &DeviceSums::scales), field(&QuantiseRun::tag),
       field(&QuantiseRun::reports)});
  VerifyRun verify;
  verify.first_block = 1;
  verify.end_block = 3;
  verify.table.elements = 3 * block_elements - 16;
  expect_refusals<VerifyRun>(
      &StepMath::verify, verify,
      {field(&VerifyRun::table, &BlockTable::segments), field(&VerifyRun::table, &BlockTable::segment_begin),
       field(&VerifyRun::table, &BlockTable::rules), field(&VerifyRun::sums, &DeviceSums::elements),
       field(&VerifyRun::sums, &DeviceSums::checksums), field(&VerifyRun::sums, &DeviceSums::scales),
       field(&VerifyRun::checks)});
  UpdateRun update;
  update.first_block = 1;
  update.end_block = 3;
  update.table = verify.table;
  std::vector<std::function<void(UpdateRun&, void*)>> fields = {
      field(&UpdateRun::table, &BlockTable::segments),
      field(&UpdateRun::table, &BlockTable::segment_begin),
      field(&UpdateRun::table, &BlockTable::rules),
      field(&UpdateRun::sums, &DeviceSums::elements),
      field(&UpdateRun::sums, &DeviceSums::scales),
      field(&UpdateRun::parameters),
      field(&UpdateRun::parameters_new)};
  for (const size_t m : {0, 1}) {
    fields.emplace_back([m](UpdateRun& run, void* to) { run.moments[m] = static_cast<float*>(to); });
    fields.emplace_back([m](UpdateRun& run, void* to) { run.moments_new[m] = static_cast<float*>(to); });
  }
  expect_refusals<UpdateRun>(&StepMath::update, update, fields);
}

}  // namespace
}  // namespace lepton::ops
