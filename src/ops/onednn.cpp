// SPDX-License-Identifier: Apache-2.0
// The boundary to oneDNN (see onednn.h), and the thread, instruction set and version functions of table.h
// that only this library can answer. All differences between oneDNN 2.x and 3.x end in this file.
#include "ops/onednn.h"

#include <omp.h>

#include <array>

#include "base/error.h"
#include "base/stop.h"
#include "ops/table.h"

#if DNNL_VERSION_MAJOR < 2
#error "Lepton needs oneDNN 2.x or 3.x"
#endif

namespace lepton::ops::onednn {

static const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

// Streams hold thread-local state; one per thread keeps threads apart without locks.
static dnnl::stream& thread_stream() {
  thread_local dnnl::stream stream(cpu_engine());
  return stream;
}

static dnnl::memory::data_type data_type(Type type) {
  return type == Type::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}
size_t bytes(Type type) {
  return dnnl::memory::data_type_size(data_type(type));
}

Desc desc(const Dims& dims, Tag tag, Type type) {
  return Desc(dims, data_type(type), tag);
}
Desc strided(const Dims& dims, const Dims& strides, Type type) {
  return Desc(dims, data_type(type), strides);
}
size_t bytes(const Desc& desc) {
  return desc.get_size();
}
Tag channels_last(const Dims& dims) {
  return dims.size() == 5 ? Tag::ndhwc : Tag::nhwc;
}

struct Primitive::Impl {
  dnnl::primitive primitive;
  std::vector<dnnl::memory> memories;
  std::vector<dnnl_exec_arg_t> arguments;
  std::vector<const void*> pointers;
};

Primitive::Primitive() = default;
Primitive::~Primitive() = default;
Primitive::Primitive(Primitive&&) noexcept = default;
Primitive& Primitive::operator=(Primitive&&) noexcept = default;

Primitive::Primitive(const dnnl::primitive& primitive, const std::vector<std::pair<int, Desc>>& arguments)
    : impl_(std::make_unique<Impl>()) {
  impl_->primitive = primitive;
  for (const auto& [index, layout] : arguments) {
    impl_->memories.emplace_back(layout, cpu_engine(), nullptr);
    impl_->arguments.push_back({index, impl_->memories.back().get()});
  }
  impl_->pointers.assign(arguments.size(), nullptr);
}

void Primitive::run(std::initializer_list<const void*> pointers) {
  Impl& impl = *impl_;
  CHECK(pointers.size() == impl.pointers.size(), "arguments of a oneDNN primitive");
  size_t i = 0;
  for (const void* pointer : pointers) {
    // Setting a handle may zero the padding of a blocked layout, so it is done for new pointers only.
    if (pointer != impl.pointers[i]) impl.memories[i].set_data_handle(const_cast<void*>(pointer));
    impl.pointers[i++] = pointer;
  }
  const dnnl_status_t status =
      dnnl_primitive_execute(impl.primitive.get(), thread_stream().get(),
                             static_cast<int>(impl.arguments.size()), impl.arguments.data());
  CHECK(status == dnnl_success, "oneDNN status " + std::to_string(status));
  thread_stream().wait();
}

static dnnl::algorithm eltwise_algorithm(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::relu:
    case ActivationKind::leaky_relu:
      return dnnl::algorithm::eltwise_relu;
    case ActivationKind::elu:
      return dnnl::algorithm::eltwise_elu;
    case ActivationKind::sigmoid:
      return dnnl::algorithm::eltwise_logistic;
    case ActivationKind::tanh:
      return dnnl::algorithm::eltwise_tanh;
    case ActivationKind::gelu:
      return dnnl::algorithm::eltwise_gelu_erf;
    case ActivationKind::gelu_tanh:
      return dnnl::algorithm::eltwise_gelu_tanh;
    default:
      break;
  }
  CHECK(false, "no epilogue");
}

static dnnl::primitive_attr attributes(const Activation& activation) {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (activation.kind == ActivationKind::none) return attr;
  dnnl::post_ops post;
  const float alpha = activation.kind == ActivationKind::relu ? 0.0f : activation.alpha;
#if DNNL_VERSION_MAJOR >= 3
  post.append_eltwise(eltwise_algorithm(activation.kind), alpha, 0.0f);
#else
  post.append_eltwise(1.0f, eltwise_algorithm(activation.kind), alpha, 0.0f);
#endif
  attr.set_post_ops(post);
  return attr;
}

// A Desc that was never set has no size: the "no bias" of the public structures.
static bool present(const Desc& layout) {
  return layout.get_size() != 0;
}

Planned matmul(const Desc& source, const Desc& weights, const Desc& bias, const Desc& destination,
               const Activation& activation) {
  const bool with_bias = present(bias);
#if DNNL_VERSION_MAJOR >= 3
  const auto pd = with_bias ? dnnl::matmul::primitive_desc(cpu_engine(), source, weights, bias, destination,
                                                           attributes(activation))
                            : dnnl::matmul::primitive_desc(cpu_engine(), source, weights, destination,
                                                           attributes(activation));
#else
  const auto operation = with_bias ? dnnl::matmul::desc(source, weights, bias, destination)
                                   : dnnl::matmul::desc(source, weights, destination);
  const dnnl::matmul::primitive_desc pd(operation, attributes(activation), cpu_engine());
#endif
  std::vector<std::pair<int, Desc>> arguments = {{DNNL_ARG_SRC, pd.src_desc()},
                                                 {DNNL_ARG_WEIGHTS, pd.weights_desc()},
                                                 {DNNL_ARG_DST, pd.dst_desc()},
                                                 {DNNL_ARG_SCRATCHPAD, pd.scratchpad_desc()}};
  if (with_bias) arguments.emplace_back(DNNL_ARG_BIAS, bias);
  return {Primitive(dnnl::matmul(pd), arguments), pd.weights_desc(), bytes(pd.scratchpad_desc())};
}

/// A convolution's descriptors, each array in the type in which one primitive reads or writes it.
struct ConvolutionDescs {
  ConvolutionDescs(const Convolution& c, Type source_type, Type weights_type, Type destination_type)
      : source(desc(c.source, channels_last(c.source), source_type)),
        weights(desc(c.weights, Tag::any, weights_type)),
        destination(desc(c.destination, channels_last(c.destination), destination_type)) {
    if (c.bias) bias = desc({c.destination[1]}, Tag::a);
  }
  Desc source, weights, destination, bias;
};

static dnnl::convolution_forward::primitive_desc forward_descriptor(const Convolution& c, bool training,
                                                                    Type destination) {
  const ConvolutionDescs d(c, c.operands, c.operands, destination);
  const auto kind = training ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
  const auto direct = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
  return dnnl::convolution_forward::primitive_desc(cpu_engine(), kind, direct, d.source, d.weights, d.bias,
                                                   d.destination, c.strides, c.dilations, c.pads_begin,
                                                   c.pads_end, attributes(c.activation));
#else
  const dnnl::convolution_forward::desc operation(kind, direct, d.source, d.weights, d.bias, d.destination,
                                                  c.strides, c.dilations, c.pads_begin, c.pads_end);
  return dnnl::convolution_forward::primitive_desc(operation, attributes(c.activation), cpu_engine());
#endif
}

Planned convolution_forward(const Convolution& c, bool training) {
  const auto pd = forward_descriptor(c, training, Type::f32);
  std::vector<std::pair<int, Desc>> arguments = {{DNNL_ARG_SRC, pd.src_desc()},
                                                 {DNNL_ARG_WEIGHTS, pd.weights_desc()},
                                                 {DNNL_ARG_DST, pd.dst_desc()},
                                                 {DNNL_ARG_SCRATCHPAD, pd.scratchpad_desc()}};
  if (c.bias) arguments.emplace_back(DNNL_ARG_BIAS, pd.bias_desc());
  return {Primitive(dnnl::convolution_forward(pd), arguments), pd.weights_desc(),
          bytes(pd.scratchpad_desc())};
}

// The hint that backward primitives want: a forward one with every layout open and nothing fused.
static dnnl::convolution_forward::primitive_desc hint(const Convolution& c) {
  Convolution open = c;
  open.activation = {};
  return forward_descriptor(open, true, c.operands);
}

Planned convolution_backward_data(const Convolution& c) {
  const ConvolutionDescs d(c, Type::f32, c.operands, c.operands);
  const auto direct = dnnl::algorithm::convolution_direct;
  const dnnl::primitive_attr attr = attributes({});
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::convolution_backward_data::primitive_desc pd(cpu_engine(), direct, d.source, d.weights,
                                                           d.destination, c.strides, c.dilations,
                                                           c.pads_begin, c.pads_end, hint(c), attr);
#else
  const dnnl::convolution_backward_data::desc operation(direct, d.source, d.weights, d.destination, c.strides,
                                                        c.dilations, c.pads_begin, c.pads_end);
  const dnnl::convolution_backward_data::primitive_desc pd(operation, attr, cpu_engine(), hint(c));
#endif
  const std::vector<std::pair<int, Desc>> arguments = {{DNNL_ARG_DIFF_SRC, pd.diff_src_desc()},
                                                       {DNNL_ARG_WEIGHTS, pd.weights_desc()},
                                                       {DNNL_ARG_DIFF_DST, pd.diff_dst_desc()},
                                                       {DNNL_ARG_SCRATCHPAD, pd.scratchpad_desc()}};
  return {Primitive(dnnl::convolution_backward_data(pd), arguments), pd.weights_desc(),
          bytes(pd.scratchpad_desc())};
}

Planned convolution_backward_weights(const Convolution& c) {
  const ConvolutionDescs d(c, c.operands, Type::f32, c.operands);
  const auto direct = dnnl::algorithm::convolution_direct;
  const dnnl::primitive_attr attr = attributes({});
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::convolution_backward_weights::primitive_desc pd(cpu_engine(), direct, d.source, d.weights,
                                                              d.bias, d.destination, c.strides, c.dilations,
                                                              c.pads_begin, c.pads_end, hint(c), attr);
#else
  const dnnl::convolution_backward_weights::desc operation(direct, d.source, d.weights, d.bias, d.destination,
                                                           c.strides, c.dilations, c.pads_begin, c.pads_end);
  const dnnl::convolution_backward_weights::primitive_desc pd(operation, attr, cpu_engine(), hint(c));
#endif
  std::vector<std::pair<int, Desc>> arguments = {{DNNL_ARG_SRC, pd.src_desc()},
                                                 {DNNL_ARG_DIFF_WEIGHTS, pd.diff_weights_desc()},
                                                 {DNNL_ARG_DIFF_DST, pd.diff_dst_desc()},
                                                 {DNNL_ARG_SCRATCHPAD, pd.scratchpad_desc()}};
  if (c.bias) arguments.emplace_back(DNNL_ARG_DIFF_BIAS, pd.diff_bias_desc());
  return {Primitive(dnnl::convolution_backward_weights(pd), arguments), pd.diff_weights_desc(),
          bytes(pd.scratchpad_desc())};
}

Reorder reorder(const Desc& from, const Desc& to) {
  if (from == to) return {};
  const dnnl::reorder::primitive_desc pd(cpu_engine(), from, cpu_engine(), to, attributes({}));
  const std::vector<std::pair<int, Desc>> arguments = {
      {DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, pd.scratchpad_desc()}};
  return {Primitive(dnnl::reorder(pd), arguments), bytes(pd.scratchpad_desc())};
}

}  // namespace lepton::ops::onednn

namespace lepton::ops {

void prepare_compute_thread() {
  use_signal_stack();
  omp_set_num_threads(1);
}

static bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

std::string precision_refusal(const std::string& isa, Precision precision) {
  if (precision == Precision::fp32) return "";
  if (precision == Precision::tf32) return "CPUs multiply in fp32 or bf16, not in tf32";
  if (!has_avx512() || !__builtin_cpu_supports("avx512bf16"))
    return "this machine's CPU has no instructions that multiply in bf16";
  return isa == "avx2" ? "AVX2, to which run.isa caps it, has no instructions that multiply in bf16" : "";
}

// Kinds of oneDNN that differ in int8 and bf16 only count as one: in float32 they run the same code, and the
// cap makes sure of it, so that "avx512" names one arithmetic. Products in bf16 differ between vectors and
// the tiles of AMX, which only "auto" takes.
std::string cap_instruction_set(const std::string& isa, Precision precision) {
  REQUIRE(isa == "auto" || isa == "avx2" || isa == "avx512", Exit::deck, "run.isa",
          "unknown instruction set \"" + isa + "\"", "use auto, avx2 or avx512");
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  REQUIRE(isa != "avx512" || has_avx512(), Exit::deck, "run.isa", "this machine has no AVX-512",
          "set run.isa to \"auto\" or \"avx2\"");
  REQUIRE(isa != "avx2" || has_avx2, Exit::deck, "run.isa", "this machine has no AVX2",
          "set run.isa to \"auto\"");
  CHECK(precision_refusal(isa, precision).empty(), precision_refusal(isa, precision));
  const bool use_avx512 = has_avx512() && isa != "avx2", bf16 = precision == Precision::bf16;
  const dnnl_cpu_isa_t wanted =
      bf16         ? isa == "auto" ? dnnl_cpu_isa_avx512_core_amx : dnnl_cpu_isa_avx512_core_bf16
      : use_avx512 ? dnnl_cpu_isa_avx512_core
      : has_avx2   ? dnnl_cpu_isa_avx2
                   : dnnl_cpu_isa_sse41;
  // oneDNN refuses once it has planned something; then the cap that stands must be the one that is asked for.
  const bool capped = dnnl_set_max_cpu_isa(wanted) == dnnl_success;
  const dnnl_cpu_isa_t effective = dnnl_get_effective_cpu_isa();
  const bool has_bf16 = (effective & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
  CHECK(bf16 ? has_bf16 : capped || effective == wanted, "cap_instruction_set comes before the first op");
  if (bf16) return effective == dnnl_cpu_isa_avx512_core_amx ? "avx512_amx_bf16" : "avx512_bf16";
  return use_avx512 ? "avx512" : has_avx2 ? "avx2" : "sse4.1";
}

std::string math_library_version() {
  const dnnl_version_t* version = dnnl_version();
  return "oneDNN " + std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
         std::to_string(version->patch);
}

}  // namespace lepton::ops
