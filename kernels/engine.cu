// SPDX-License-Identifier: Apache-2.0
// The CUDA engine: the table of ops (the twin of src/ops/table.cpp), and the context that all of them stand
// on. Also the checks that the whole folder uses. Called by module.cu.
#include "kernels/engine.h"

#include <string>
#include <utility>

#include "kernels/backend.h"
#include "kernels/finite.h"
#include "kernels/libraries.h"
#include "kernels/operators.h"
#include "kernels/step_math.h"
#include "tensor/buffer.h"

namespace lepton::cuda {

namespace {

[[noreturn]] void failed(const char* call, const std::string& text) {
  fail(Exit::software, call, text, "The device or its driver failed; the last checkpoint stands.");
}

}  // namespace

void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess) [[unlikely]]
    failed(call, cudaGetErrorString(status));
}

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) [[unlikely]]
    failed(call, cublasLtGetStatusString(status));
}

void check(cudnnStatus_t status, const char* call) {
  if (status != CUDNN_STATUS_SUCCESS) [[unlikely]]
    failed(call, cudnnGetErrorString(status));
}

void check_launch(const char* kernel) {
  check(cudaGetLastError(), kernel);
}

namespace {

struct Row {
  const char* type;
  std::unique_ptr<ops::Op> (*make)(const Context&, const ops::OpSpec&);
};

const Row rows[] = {
    {"Gemm", make_matmul},
    {"Conv", make_conv},
    {"ConvTranspose", make_conv_transpose},
    {"MaxPool", make_max_pool},
    {"AveragePool", make_average_pool},
    {"GlobalAveragePool", make_global_average_pool},
    {"GlobalMaxPool", make_global_max_pool},
    {"BatchNormalization", make_batch_norm},
    {"LayerNormalization", make_layer_norm},
    {"RMSNormalization", make_layer_norm},
    {"Dropout", make_dropout},
    {"Flatten", make_reshape},
    {"Reshape", make_reshape},
    {"Identity", make_reshape},
    {"Transpose", make_transpose},
    {"Concat", make_concat},
    {"Relu", make_activation},
    {"LeakyRelu", make_activation},
    {"PRelu", make_prelu},
    {"Elu", make_activation},
    {"Selu", make_activation},
    {"Gelu", make_activation},
    {"Sigmoid", make_activation},
    {"HardSigmoid", make_activation},
    {"Tanh", make_activation},
    {"Softplus", make_activation},
    {"Swish", make_activation},
    {"Mish", make_activation},
    {"Softmax", make_softmax},
    {"Add", make_add},
    {"Sub", make_elementwise},
    {"Mul", make_elementwise},
    {"Div", make_elementwise},
    {"Pow", make_elementwise},
    {"Min", make_elementwise},
    {"Max", make_elementwise},
    {"Equal", make_elementwise},
    {"Greater", make_elementwise},
    {"Less", make_elementwise},
    {"Where", make_elementwise},
    {"Neg", make_elementwise},
    {"Abs", make_elementwise},
    {"Sqrt", make_elementwise},
    {"Exp", make_elementwise},
    {"Log", make_elementwise},
    {"Erf", make_elementwise},
    {"Reciprocal", make_elementwise},
    {"Clip", make_elementwise},
    {"Sign", make_elementwise},
    {"Floor", make_elementwise},
    {"Ceil", make_elementwise},
    {"Not", make_elementwise},
    {"LogSoftmax", make_softmax},
    {"GroupNormalization", make_group_norm},
    {"InstanceNormalization", make_group_norm},
    {"Slice", make_remap},
    {"Pad", make_remap},
    {"Resize", make_remap},
    {"Squeeze", make_reshape},
    {"Unsqueeze", make_reshape},
    {"Expand", make_expand},
    {"ReduceSum", make_reduce},
    {"ReduceMean", make_reduce},
    {"ReduceMax", make_reduce},
    {"MatMul", make_product},
    {"Gather", make_gather},
    {"Attention", make_attention},
    {"SparseMatMul", make_sparse_product},
    {"RNN", make_recurrent},
    {"LSTM", make_recurrent},
    {"GRU", make_recurrent},
};

/// The context with its handles, released in the end.
class Handles {
 public:
  Handles(cudaStream_t stream, int index, ops::Precision precision) {
    context.stream = stream;
    context.precision = precision;
    check(cudaDeviceGetAttribute(&context.multiprocessors, cudaDevAttrMultiProcessorCount, index),
          "cudaDeviceGetAttribute");
    check(cublasLtCreate(&context.blas), "cublasLtCreate");
    check(cudnnCreate(&context.dnn), "cudnnCreate");
    check(cudnnSetStream(context.dnn, stream), "cudnnSetStream");
  }
  ~Handles() {
    if (context.dnn) cudnnDestroy(context.dnn);
    if (context.blas) cublasLtDestroy(context.blas);
  }
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;

  Context context;
};

class CudaArithmetic : public ops::Arithmetic {
 public:
  CudaArithmetic(Backend& backend, Queue& queue, int index, ops::Precision precision)
      : handles_(stream_of(queue), index, precision),
        device_{DeviceKind::cuda, index, &backend},
        queue_(queue),
        found_(device_, sizeof(uint32_t), "a flag"),
        fetched_(device_, sizeof(uint32_t), "a flag", MemoryKind::pinned) {}

  const Context& context() const { return handles_.context; }
  Device device() const override { return device_; }
  std::unique_ptr<ops::Op> make_op(const ops::OpSpec& spec) override {
    for (const Row& row : rows)
      if (spec.type == row.type) return row.make(handles_.context, spec);
    CHECK(false, "no operator " + spec.type + " on CUDA");
    return nullptr;
  }
  void add(float* into, const float* from, int64_t count) override {
    cuda::add(handles_.context, into, from, count);
  }
  bool all_finite(const float* values, int64_t count) override {
    queue_.clear(found_.data(), sizeof(uint32_t));
    find_non_finite(handles_.context, values, count, found_.as<uint32_t>().data());
    queue_.copy(fetched_.data(), found_.data(), sizeof(uint32_t));
    queue_.synchronize();
    return fetched_.as<uint32_t>()[0] == 0;
  }

 private:
  Handles handles_;
  Device device_;
  Queue& queue_;
  Buffer found_, fetched_;
};

class CudaStepMath : public ops::StepMath {
 public:
  explicit CudaStepMath(const Context& context) : context_(context) {}
  void loss(const ops::LossRun& run) override { cuda::loss(context_, run); }
  void quantise_add(const ops::QuantiseRun& run) override { cuda::quantise_add(context_, run); }
  void verify(const ops::VerifyRun& run) override { cuda::verify(context_, run); }
  void update(const ops::UpdateRun& run) override { cuda::update(context_, run); }
  void hash_blocks(const float* arena, int64_t elements, int64_t first_block, int64_t end_block,
                   uint64_t* hashes) override {
    cuda::hash_blocks(context_, arena, elements, first_block, end_block, hashes);
  }
  void add_sums(int64_t* sums, const int64_t* more, int64_t count) override {
    cuda::add_sums(context_, sums, more, count);
  }

 private:
  const Context& context_;
};

}  // namespace

std::string library_versions() {
  const auto blas = static_cast<int>(cublasLtGetVersion()), dnn = static_cast<int>(cudnnGetVersion());
  const auto three = [](int version, int major, int minor) {
    return std::to_string(version / major) + "." + std::to_string(version / minor % (major / minor)) + "." +
           std::to_string(version % minor);
  };
  return "cuBLASLt " + three(blas, 10000, 100) + ", cuDNN " + three(dnn, 10000, 100);
}

ops::Engine open_engine(int index, ops::Precision precision) {
  ops::Engine engine;
  engine.backend = make_backend(index);
  engine.queue = engine.backend->make_queue();
  auto arithmetic = std::make_unique<CudaArithmetic>(*engine.backend, *engine.queue, index, precision);
  engine.step_math = std::make_unique<CudaStepMath>(arithmetic->context());
  engine.arithmetic = std::move(arithmetic);
  engine.libraries = library_versions() + ", " + ops::precision_name(precision);
  return engine;
}

}  // namespace lepton::cuda
