// SPDX-License-Identifier: Apache-2.0
// Gemm on CUDA, the twin of src/ops/matmul.cpp: y[n, out] = f(x[n, in] W[out, in]^T + b) by cuBLASLt with
// bias, Relu and Gelu (approximated by tanh: it has no other) in its epilogue; other activations follow as a
// pass of their own. Of Gelu the input z is kept. Backward, with dz = dy f'(y), of Gelu dy f'(z):
//   dx = dz W,   dW = dz^T x,   db = sum over samples of dz.
// Algorithms are chosen once, when the op is planned: the first that cuBLASLt's heuristic names among those
// whose sums have a fixed order. So bits depend on shapes, the type of GPU and the library's version alone.
// In bf16 each operand is rounded once a run, in scratch; products and results are float32.
#include <algorithm>

#include "kernels/libraries.h"
#include "kernels/operands.h"
#include "kernels/operators.h"

namespace lepton::cuda {

namespace {

/// A descriptor of cuBLASLt and its end.
template <class Handle, cublasStatus_t (*destroy)(Handle)>
class BlasDescriptor {
 public:
  BlasDescriptor() = default;
  BlasDescriptor(const BlasDescriptor&) = delete;
  BlasDescriptor& operator=(const BlasDescriptor&) = delete;
  ~BlasDescriptor() {
    if (handle_) destroy(handle_);
  }
  Handle get() const { return handle_; }
  Handle* out() { return &handle_; }

 private:
  Handle handle_ = nullptr;
};
using MatrixLayout = BlasDescriptor<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Operation = BlasDescriptor<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Preference = BlasDescriptor<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

template <class Value>
void set(const Operation& operation, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  check(cublasLtMatmulDescSetAttribute(operation.get(), attribute, &value, sizeof value),
        "cublasLtMatmulDescSetAttribute");
}
template <class Value>
void set(const Preference& preference, cublasLtMatmulPreferenceAttributes_t attribute, const Value& value) {
  check(cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof value),
        "cublasLtMatmulPreferenceSetAttribute");
}

// What algorithms may rely on. Arrays of a run begin on 64 bytes; 16 is the widest access of a thread.
constexpr uint32_t pointer_alignment = 16;

/// result[rows, columns] = left[rows, inner] right[inner, columns], all row by row in memory; a transposed
/// operand lies as [inner, rows] or [columns, inner].
struct ProductShape {
  int64_t rows = 0, columns = 0, inner = 0;
  bool left_transposed = false, right_transposed = false;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
};

constexpr int keeps_input = CUBLASLT_EPILOGUE_GELU_AUX & ~CUBLASLT_EPILOGUE_GELU;  ///< of an epilogue

/// One product, planned. cuBLASLt counts column by column, in which a matrix of ours is its transpose: so it
/// computes result^T = right^T left^T, with the operands exchanged, and its bias per row is one per column.
class Product {
 public:
  Product(const Context& context, const ProductShape& shape)
      : context_(context),
        bias_(shape.epilogue & CUBLASLT_EPILOGUE_BIAS),
        keeps_input_(shape.epilogue & keeps_input) {
    const bool narrow = context.precision == ops::Precision::bf16;
    const cudaDataType_t operand = narrow ? CUDA_R_16BF : CUDA_R_32F;
    const auto compute =
        context.precision == ops::Precision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    check(cublasLtMatmulDescCreate(operation_.out(), compute, CUDA_R_32F), "cublasLtMatmulDescCreate");
    set(operation_, CUBLASLT_MATMUL_DESC_TRANSA, shape.right_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(operation_, CUBLASLT_MATMUL_DESC_TRANSB, shape.left_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE, shape.epilogue);
    // The heuristic reads neither bias nor input of the activation but takes their alignment from the
    // address.
    void* const somewhere = reinterpret_cast<void*>(uintptr_t{pointer_alignment});
    if (bias_) {
      set(operation_, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F);
      set(operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, somewhere);
    }
    if (keeps_input_) {
      set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, shape.columns);
      set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, somewhere);
    }
    layout(right_, operand, shape.inner, shape.columns, shape.right_transposed);
    layout(left_, operand, shape.rows, shape.inner, shape.left_transposed);
    layout(result_, CUDA_R_32F, shape.rows, shape.columns, false);
    choose(shape);
  }

  /// Does the library have it? Without an epilogue it does.
  bool found() const { return found_; }
  size_t workspace_bytes() const { return chosen_.workspaceSize; }

  /// `input`: where that of the activation goes, if it is kept.
  void run(const void* left, const void* right, float* result, const float* bias, float* input,
           std::byte* workspace) {
    CHECK(found_, "a product that cuBLASLt does not have");
    if (bias_) set(operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    if (keeps_input_) set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, input);
    const float one = 1, zero = 0;
    check(cublasLtMatmul(context_.blas, operation_.get(), &one, right, right_.get(), left, left_.get(), &zero,
                         result, result_.get(), result, result_.get(), &chosen_.algo, workspace,
                         chosen_.workspaceSize, context_.stream),
          "cublasLtMatmul");
  }

 private:
  /// Of [rows, columns] row by row, or of its transpose.
  static void layout(MatrixLayout& layout, cudaDataType_t type, int64_t rows, int64_t columns,
                     bool transposed) {
    if (transposed) std::swap(rows, columns);
    check(cublasLtMatrixLayoutCreate(layout.out(), type, static_cast<uint64_t>(columns),
                                     static_cast<uint64_t>(rows), columns),
          "cublasLtMatrixLayoutCreate");
  }

  void choose(const ProductShape& shape) {
    constexpr int64_t small_product = int64_t{1} << 28;  // multiplications
    const bool small = shape.rows * shape.columns <= small_product / shape.inner;
    Preference preference;
    check(cublasLtMatmulPreferenceCreate(preference.out()), "cublasLtMatmulPreferenceCreate");
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{small ? 4u << 20 : 32u << 20});
    // A product split along its inner dimension is summed in a step of its own; never as parts happen to end.
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    for (const auto operand :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      set(preference, operand, pointer_alignment);
    int found = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(context_.blas, operation_.get(), right_.get(), left_.get(),
                                       result_.get(), result_.get(), preference.get(), 1, &chosen_, &found);
    found_ = status == CUBLAS_STATUS_SUCCESS && found > 0 && chosen_.state == CUBLAS_STATUS_SUCCESS;
    if (!found_ && shape.epilogue == CUBLASLT_EPILOGUE_DEFAULT)
      check(status == CUBLAS_STATUS_SUCCESS ? CUBLAS_STATUS_NOT_SUPPORTED : status,
            "cublasLtMatmulAlgoGetHeuristic");
  }

  const Context& context_;
  bool bias_, keeps_input_, found_ = false;
  Operation operation_;
  MatrixLayout left_, right_, result_;
  cublasLtMatmulHeuristicResult_t chosen_ = {};
};

/// The epilogue that does it all; of what it has no activation for, the bias.
cublasLtEpilogue_t epilogue(bool bias, ops::ActivationKind kind, bool keep) {
  int parts = bias ? CUBLASLT_EPILOGUE_BIAS : 0;
  if (kind == ops::ActivationKind::relu) parts |= CUBLASLT_EPILOGUE_RELU;
  if (kind == ops::ActivationKind::gelu_tanh) parts |= CUBLASLT_EPILOGUE_GELU | (keep ? keeps_input : 0);
  return parts == 0 ? CUBLASLT_EPILOGUE_DEFAULT : static_cast<cublasLtEpilogue_t>(parts);
}

class GemmOp : public ops::Op {
 public:
  GemmOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        activation_(ops::parse_activation(spec.activation, spec.activation_attributes)),
        n_(spec.samples * element_count(spec.inputs[0]) / spec.parameters[0][1]),
        in_(spec.parameters[0][1]),
        out_(spec.parameters[0][0]),
        bias_(spec.parameters.size() > 1),
        narrow_(context.precision == ops::Precision::bf16) {
    if (spec.training && ops::takes_input(activation_)) {
      ops::MemoryPlan saved;
      saved.add_floats(n_ * out_);
      saved_bytes_ = saved.bytes();
    }
    plan_forward();
    ops::MemoryPlan memory;
    place_operands(memory, forward_memory_, false);
    forward_memory_.workspace.place(memory, forward_->workspace_bytes());
    scratch_bytes_ = memory.bytes();
    if (spec.training) plan_backward(spec.input_needs_gradient[0]);
  }

  void forward(const ops::OpForward& run) override {
    const void* x = operand(n_ * in_, run.inputs[0], run.scratch, forward_memory_.x);
    const void* weights = operand(out_ * in_, run.parameters[0], run.scratch, forward_memory_.weights);
    float* const z = saved_bytes_ > 0 ? ops::floats_at(run.saved, 0) : run.output;
    forward_->run(x, weights, fused_ ? run.output : z, bias_ ? run.parameters[1] : nullptr, z,
                  forward_memory_.workspace.at(run.scratch));
    if (!fused_) activate(context_, activation_, n_ * out_, z, run.output);
  }

  void backward(const ops::OpBackward& run) override {
    const Memory& memory = backward_memory_;
    const float* dz = run.output_gradient;
    if (activation_.kind != ops::ActivationKind::none) {
      float* own = ops::floats_at(run.scratch, memory.dz);
      const float* z = saved_bytes_ > 0 ? ops::floats_at(run.saved, 0) : nullptr;
      activation_gradient(context_, activation_, n_ * out_, z, run.output, dz, own);
      dz = own;
    }
    std::byte* workspace = memory.workspace.at(run.scratch);
    if (bias_) sum_rows(context_, n_, out_, dz, run.scratch + memory.sums, run.parameter_gradients[1]);
    const void* left = operand(n_ * out_, dz, run.scratch, memory.narrow_dz);
    if (run.input_gradients[0]) {
      const void* weights = operand(out_ * in_, run.parameters[0], run.scratch, memory.weights);
      data_->run(left, weights, run.input_gradients[0], nullptr, nullptr, workspace);
    }
    const void* x = operand(n_ * in_, run.inputs[0], run.scratch, memory.x);
    weights_->run(left, x, run.parameter_gradients[0], nullptr, nullptr, workspace);
  }

  ops::BackwardNeeds backward_needs() const override {
    return {.inputs = true,
            .output = activation_.kind != ops::ActivationKind::none && !ops::takes_input(activation_)};
  }

 private:
  /// Offsets in scratch, of one direction.
  struct Memory {
    size_t x = 0, weights = 0, dz = 0, narrow_dz = 0, sums = 0;
    Workspace workspace;
  };

  void place_operands(ops::MemoryPlan& memory, Memory& offsets, bool backward) {
    if (!narrow_) return;
    offsets.x = memory.add(static_cast<size_t>(n_ * in_) * sizeof(Bfloat16));
    offsets.weights = memory.add(static_cast<size_t>(out_ * in_) * sizeof(Bfloat16));
    if (backward) offsets.narrow_dz = memory.add(static_cast<size_t>(n_ * out_) * sizeof(Bfloat16));
  }

  /// With the activation in the epilogue where the library has that for these shapes; else the bias alone.
  void plan_forward() {
    using Kind = ops::ActivationKind;
    constexpr int64_t aligned_columns = 8;  // of the activation's input, where that is kept
    const Kind kind = activation_.kind;
    const bool possible = kind == Kind::none || kind == Kind::relu ||
                          (kind == Kind::gelu_tanh && (saved_bytes_ == 0 || out_ % aligned_columns == 0));
    for (const Kind tried : {possible ? kind : Kind::none, Kind::none}) {
      fused_ = tried == kind;
      forward_ = std::make_unique<Product>(
          context_, ProductShape{.rows = n_,
                                 .columns = out_,
                                 .inner = in_,
                                 .right_transposed = true,
                                 .epilogue = epilogue(bias_, tried, saved_bytes_ > 0)});
      if (forward_->found()) return;
    }
    check(CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmulAlgoGetHeuristic");
  }

  void plan_backward(bool input_gradient) {
    if (input_gradient)
      data_ = std::make_unique<Product>(context_, ProductShape{.rows = n_, .columns = in_, .inner = out_});
    weights_ = std::make_unique<Product>(
        context_, ProductShape{.rows = out_, .columns = in_, .inner = n_, .left_transposed = true});
    ops::MemoryPlan memory;
    place_operands(memory, backward_memory_, true);
    if (activation_.kind != ops::ActivationKind::none) backward_memory_.dz = memory.add_floats(n_ * out_);
    if (bias_) backward_memory_.sums = memory.add(sum_rows_scratch_bytes(n_, out_));
    backward_memory_.workspace.place(
        memory, std::max(weights_->workspace_bytes(), data_ ? data_->workspace_bytes() : 0));
    scratch_bytes_ = std::max(scratch_bytes_, memory.bytes());
  }

  /// x as the products take it: itself, or rounded in scratch.
  const void* operand(int64_t count, const float* x, std::byte* scratch, size_t offset) {
    if (!narrow_) return x;
    Bfloat16* rounded = bfloat16_at(scratch, offset);
    narrow(context_, count, x, rounded);
    return rounded;
  }

  const Context& context_;
  ops::Activation activation_;
  int64_t n_, in_, out_;
  bool bias_, narrow_;
  bool fused_ = true;                                  ///< nothing is to be done behind the product
  std::unique_ptr<Product> forward_, data_, weights_;  ///< the last two backward only
  Memory forward_memory_, backward_memory_;
};

}  // namespace

std::unique_ptr<ops::Op> make_matmul(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<GemmOp>(context, spec);
}

}  // namespace lepton::cuda
