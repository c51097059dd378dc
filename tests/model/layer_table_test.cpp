// SPDX-License-Identifier: Apache-2.0
// The table of layer types and the reference made from it.
#include <gtest/gtest.h>

#include "model/layers.h"

namespace lepton::model {

TEST(LayerTable, EveryRowIsInTheReferenceWithItsOptions) {
  const std::string reference = layer_reference();
  EXPECT_GE(layer_table().size(), 45U);
  for (const LayerRow& row : layer_table()) {
    EXPECT_NE(reference.find(std::string(row.type) + ": " + row.summary), std::string::npos) << row.type;
    for (const OptionRow& option : row.options)
      EXPECT_NE(reference.find(std::string(option.name) + " = " + option.values), std::string::npos)
          << option.name;
  }
  EXPECT_NE(reference.find("units = integer (required)"), std::string::npos);
  EXPECT_NE(reference.find("rate = number (default 0.5)"), std::string::npos);
}

}  // namespace lepton::model
