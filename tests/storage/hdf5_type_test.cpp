// SPDX-License-Identifier: Apache-2.0
// Every readable type survives the way to HDF5 and back; everything else is refused by name.
#include "storage/hdf5_type.h"

#include "storage/make_hdf5.h"
#include "storage/scratch.h"

namespace lepton::storage {
namespace {

TEST(Hdf5Type, AllTypesThereAndBack) {
  const Hdf5Lock lock;
  const auto types = testing::all_types();
  EXPECT_EQ(types.size(), 20u);
  for (const StoredType& type : types) {
    const Handle id = hdf5_type(type);
    EXPECT_EQ(stored_type(id.get(), "here"), type) << type.text();
    EXPECT_EQ(H5Tget_size(id.get()), static_cast<size_t>(type.bytes));
  }
}

TEST(Hdf5Type, Texts) {
  EXPECT_EQ((StoredType{StoredType::Kind::unsigned_integer, 1, false}.text()), "uint8");
  EXPECT_EQ((StoredType{StoredType::Kind::floating, 4, true}.text()), "float32 big-endian");
  EXPECT_EQ((StoredType{StoredType::Kind::signed_integer, 8, false}.text()), "int64");
}

void expect_refused(hid_t id, const std::string& part) {
  const Handle type(id, H5Tclose);
  testing::expect_error(Exit::data, part, [&] { stored_type(type.get(), "a.h5:/x"); });
}

hid_t enumeration(const char* a, signed char a_value, const char* b, signed char b_value) {
  const hid_t type = H5Tenum_create(H5T_STD_I8LE);
  H5Tenum_insert(type, a, &a_value);
  H5Tenum_insert(type, b, &b_value);
  return type;
}

TEST(Hdf5Type, BooleansAreBytes) {
  const Hdf5Lock lock;
  for (const hid_t id : {enumeration("FALSE", 0, "TRUE", 1), enumeration("TRUE", 1, "FALSE", 0)}) {
    const Handle type(id, H5Tclose);
    EXPECT_EQ(stored_type(type.get(), "here"), testing::u8);
  }
}

TEST(Hdf5Type, RefusesOtherTypesByName) {
  const Hdf5Lock lock;
  expect_refused(H5Tcopy(H5T_C_S1), "strings");
  expect_refused(H5Tcreate(H5T_COMPOUND, 8), "compound");
  expect_refused(H5Tcreate(H5T_OPAQUE, 8), "opaque");
  expect_refused(H5Tcopy(H5T_STD_REF_OBJ), "references");
  expect_refused(H5Tenum_create(H5T_NATIVE_INT8), "enumeration");
  expect_refused(enumeration("FALSE", 0, "MAYBE", 2), "enumeration");
  expect_refused(enumeration("OFF", 0, "ON", 1), "enumeration");
  expect_refused(H5Tvlen_create(H5T_NATIVE_INT8), "varying length");
  const hsize_t three = 3;
  expect_refused(H5Tarray_create2(H5T_NATIVE_INT8, 1, &three), "array type");
  const hid_t odd = H5Tcopy(H5T_STD_I32LE);
  H5Tset_precision(odd, 24);
  expect_refused(odd, "unusual width");
  const hid_t bfloat16 = H5Tcopy(H5T_IEEE_F32LE);
  H5Tset_fields(bfloat16, 15, 7, 8, 0, 7);
  H5Tset_size(bfloat16, 2);
  expect_refused(bfloat16, "bfloat16");
  const hid_t biased = H5Tcopy(H5T_IEEE_F32LE);
  H5Tset_ebias(biased, 100);
  expect_refused(biased, "unusual format");
}

}  // namespace
}  // namespace lepton::storage
