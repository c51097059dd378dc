// SPDX-License-Identifier: Apache-2.0
// Number types: recognised by class, size, precision, byte order and (floats) bit fields, never by comparison
// with predefined types, because files written elsewhere use types of their own that mean the same.
#include "storage/hdf5_type.h"

#include <string_view>

namespace lepton::storage {

namespace {

struct FloatFields {
  size_t sign, exponent, exponent_size, mantissa, mantissa_size, bias;
  bool operator==(const FloatFields&) const = default;
};

// IEEE 754 binary16, binary32 and binary64.
constexpr FloatFields half_fields = {15, 10, 5, 0, 10, 15};
constexpr FloatFields single_fields = {31, 23, 8, 0, 23, 127};
constexpr FloatFields double_fields = {63, 52, 11, 0, 52, 1023};
constexpr FloatFields bfloat16_fields = {15, 7, 8, 0, 7, 127};

FloatFields fields_of(hid_t type) {
  FloatFields fields{};
  H5Tget_fields(type, &fields.sign, &fields.exponent, &fields.exponent_size, &fields.mantissa,
                &fields.mantissa_size);
  fields.bias = H5Tget_ebias(type);
  return fields;
}

const char* class_name(H5T_class_t type_class) {
  switch (type_class) {
    case H5T_STRING:
      return "strings";
    case H5T_BITFIELD:
      return "bit fields";
    case H5T_OPAQUE:
      return "opaque bytes";
    case H5T_COMPOUND:
      return "compound records";
    case H5T_REFERENCE:
      return "references";
    case H5T_ENUM:
      return "an enumeration other than that of booleans";
    case H5T_VLEN:
      return "rows of varying length";
    case H5T_ARRAY:
      return "an array type";
    default:
      return "an unknown type";
  }
}

/// h5py and others store booleans as an enumeration of one byte: FALSE is 0 and TRUE is 1.
bool is_boolean(hid_t type) {
  if (H5Tget_class(type) != H5T_ENUM || H5Tget_size(type) != 1 || H5Tget_nmembers(type) != 2) return false;
  for (unsigned i = 0; i < 2; ++i) {
    signed char value = -1;
    char* const name = H5Tget_member_name(type, i);
    const bool known = name != nullptr && H5Tget_member_value(type, i, &value) >= 0 &&
                       std::string_view(name) == (value == 0 ? "FALSE" : "TRUE") &&
                       (value == 0 || value == 1);
    H5free_memory(name);
    if (!known) return false;
  }
  return true;
}

[[noreturn]] void refuse_type(const std::string& where, const std::string& what) {
  fail(Exit::data, where, "the array holds " + what + ", which Lepton does not read",
       "Store it as (u)int8, 16, 32, 64 or float16, 32, 64.");
}

}  // namespace

std::string StoredType::text() const {
  const char* name = kind == Kind::floating ? "float" : kind == Kind::signed_integer ? "int" : "uint";
  return name + std::to_string(8 * bytes) + (big_endian && bytes > 1 ? " big-endian" : "");
}

StoredType stored_type(hid_t type, const std::string& where) {
  if (is_boolean(type)) return {StoredType::Kind::unsigned_integer, 1, false};
  const H5T_class_t type_class = H5Tget_class(type);
  if (type_class != H5T_INTEGER && type_class != H5T_FLOAT) refuse_type(where, class_name(type_class));
  StoredType result;
  result.bytes = static_cast<int>(H5Tget_size(type));
  const H5T_order_t order = H5Tget_order(type);
  if (order != H5T_ORDER_LE && order != H5T_ORDER_BE)
    refuse_type(where, "numbers in VAX or mixed byte order");
  result.big_endian = order == H5T_ORDER_BE && result.bytes > 1;
  const std::string size = std::to_string(8 * result.bytes) + " bits";
  const bool plain = H5Tget_offset(type) == 0 && H5Tget_precision(type) == size_t{8} * H5Tget_size(type);
  if (type_class == H5T_INTEGER) {
    const bool known = result.bytes == 1 || result.bytes == 2 || result.bytes == 4 || result.bytes == 8;
    if (!plain || !known) refuse_type(where, "integers of an unusual width in " + size);
    result.kind = H5Tget_sign(type) == H5T_SGN_NONE ? StoredType::Kind::unsigned_integer
                                                    : StoredType::Kind::signed_integer;
    return result;
  }
  const FloatFields fields = fields_of(type);
  if (fields == bfloat16_fields) refuse_type(where, "bfloat16 numbers");
  const bool known = (result.bytes == 2 && fields == half_fields) ||
                     (result.bytes == 4 && fields == single_fields) ||
                     (result.bytes == 8 && fields == double_fields);
  if (!plain || !known) refuse_type(where, "floats of an unusual format in " + size);
  result.kind = StoredType::Kind::floating;
  return result;
}

Handle hdf5_type(const StoredType& type) {
  const std::string where = "type " + type.text();
  hid_t base = -1;
  const bool is_signed = type.kind == StoredType::Kind::signed_integer;
  if (type.kind == StoredType::Kind::floating) {
    base = H5Tcopy(type.bytes == 8 ? H5T_IEEE_F64LE : H5T_IEEE_F32LE);
  } else {
    const hid_t types[] = {H5T_STD_U8LE, H5T_STD_U16LE, H5T_STD_U32LE, H5T_STD_U64LE,
                           H5T_STD_I8LE, H5T_STD_I16LE, H5T_STD_I32LE, H5T_STD_I64LE};
    const int width = type.bytes == 8 ? 3 : type.bytes / 2;
    base = H5Tcopy(types[width + (is_signed ? 4 : 0)]);
  }
  Handle copy = hdf5_handle(base, H5Tclose, Exit::software, where, "H5Tcopy");
  if (type.kind == StoredType::Kind::floating && type.bytes == 2) {
    const FloatFields f =
        half_fields;  // fields first: they must lie inside the smaller size before it is set
    H5Tset_fields(copy.get(), f.sign, f.exponent, f.exponent_size, f.mantissa, f.mantissa_size);
    H5Tset_size(copy.get(), 2);
    hdf5_status(H5Tset_ebias(copy.get(), f.bias), Exit::software, where, "making float16");
  }
  if (type.big_endian)
    hdf5_status(H5Tset_order(copy.get(), H5T_ORDER_BE), Exit::software, where, "H5Tset_order");
  return copy;
}

}  // namespace lepton::storage
