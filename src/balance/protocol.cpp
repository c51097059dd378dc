// SPDX-License-Identifier: Apache-2.0
// Messages by Boost.Serialization: the kind of the body, then the body. Called by train, which sends them.
#include "balance/protocol.h"

#include <type_traits>
#include <utility>

#include "comm/pack.h"

namespace lepton::balance {

template <class Archive>
void serialize(Archive& archive, Stamp& stamp, unsigned) {
  archive& stamp.round& stamp.kind& stamp.step& stamp.attempt;
}

template <class Archive>
void serialize(Archive& archive, Move& move, unsigned) {
  archive& move.node& move.units& move.end_s;
}

template <class Archive>
void serialize(Archive& archive, Report& report, unsigned) {
  archive& report.at_s& report.left& report.end_s& report.unit_s& report.gives_seen& report.taken& report
      .missing;
}

template <class Archive>
void serialize(Archive& archive, Give& give, unsigned) {
  archive& give.moves& give.end_s;
}

template <class Archive>
void serialize(Archive& archive, Offer& offer, unsigned) {
  archive& offer.number& offer.units& offer.end_s;
}

template <class Archive>
void serialize(Archive& archive, Started& started, unsigned) {
  archive& started.number;
}

namespace {

using Body = decltype(Message::body);

/// Makes the body the alternative number `kind`.
template <size_t alternative = 0>
void choose(Body& body, size_t kind) {
  if constexpr (alternative < std::variant_size_v<Body>) {
    if (alternative == kind)
      body.emplace<alternative>();
    else
      choose<alternative + 1>(body, kind);
  } else {
    CHECK(false, "a message of an unknown kind");
  }
}

}  // namespace

template <class Archive>
void serialize(Archive& archive, Message& message, unsigned) {
  uint32_t kind = static_cast<uint32_t>(message.body.index());
  archive& message.stamp& kind;
  if constexpr (Archive::is_loading::value) choose(message.body, kind);
  std::visit([&](auto& body) { archive& body; }, message.body);
}

std::string encode(const Message& message) {
  return comm::pack(message);
}

Message decode(const std::string& bytes) {
  return comm::unpack<Message>(bytes, "a message of the balancer");
}

}  // namespace lepton::balance
