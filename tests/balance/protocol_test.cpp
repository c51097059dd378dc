// SPDX-License-Identifier: Apache-2.0
// Messages of stealing as bytes: each kind comes back as it was, and damaged ones are refused.
#include "balance/protocol.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "comm/pack.h"

namespace lepton::balance {
namespace {

const Stamp stamp{(int64_t{1} << 40) + 3, 2, (int64_t{1} << 41) + 5, 7};

std::vector<Message> one_of_each() {
  Report report{1.5, 10, 2.25, 0.125, 3, 4, {}};
  Report with_missing = report;
  with_missing.missing = {{1, 2, 0}, {999, 1, 0.5}};
  const Give give{{{4, 5, 6.5}, {7, int64_t{1} << 33, std::numeric_limits<double>::infinity()}}, 8.5};
  const Offer offer{int64_t{1} << 50, {3, 1, 2, std::numeric_limits<int32_t>::max()}, 0.1};
  return {{stamp, report}, {stamp, with_missing}, {stamp, give},  {stamp, Give{}},
          {stamp, offer},  {stamp, Offer{}},      {{}, Report{}}, {stamp, Started{int64_t{5}}}};
}

TEST(Protocol, EachKindComesBackAsItWas) {
  for (const Message& message : one_of_each()) {
    const Message back = decode(encode(message));
    EXPECT_EQ(back.stamp, message.stamp);
    EXPECT_EQ(back.body.index(), message.body.index());
    EXPECT_TRUE(back.body == message.body) << "kind " << message.body.index();
  }
}

/// Every field by itself: one that is not sent would come back as its default.
TEST(Protocol, NoFieldIsForgotten) {
  const auto survives = [](const Message& message) {
    const Message back = decode(encode(message));
    EXPECT_EQ(back.stamp, message.stamp);
    EXPECT_TRUE(back.body == message.body) << "kind " << message.body.index();
  };
  for (const Stamp& one : {Stamp{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}})
    survives({one, Started{}});
  for (int field = 0; field < 6; ++field) {
    Report report;
    if (field == 0) report.at_s = 1;
    if (field == 1) report.left = 1;
    if (field == 2) report.end_s = 1;
    if (field == 3) report.unit_s = 1;
    if (field == 4) report.gives_seen = 1;
    if (field == 5) report.taken = 1;
    survives({stamp, report});
  }
  for (const Move& move : {Move{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}) {
    survives({stamp, Give{{move}, 0}});
    survives({stamp, Report{0, 0, 0, 0, 0, 0, {move}}});
  }
  survives({stamp, Give{{}, 1}});
  survives({stamp, Offer{1, {}, 0}});
  survives({stamp, Offer{0, {1}, 0}});
  survives({stamp, Offer{0, {}, 1}});
  survives({stamp, Started{1}});
}

void expect_refused(const std::string& bytes) {
  try {
    decode(bytes);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::io);
    EXPECT_EQ(error.where(), "a message of the balancer");
  }
}

TEST(Protocol, DamageIsRefused) {
  for (const Message& message : one_of_each()) {
    const std::string good = encode(message);
    for (size_t bit = 0; bit < good.size() * 8; ++bit) {
      std::string bad = good;
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
      expect_refused(bad);
    }
    for (size_t length = 0; length < good.size(); ++length) expect_refused(good.substr(0, length));
    expect_refused(good + "x");
  }
}

/// What is whole but no message: shorter than one, or of a kind that there is not.
TEST(Protocol, WhatIsNoMessageIsRefused) {
  expect_refused(comm::seal(""));
  expect_refused(comm::seal("short"));
}

}  // namespace
}  // namespace lepton::balance
