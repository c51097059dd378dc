// SPDX-License-Identifier: Apache-2.0
// A deck beside the identity of a checkpoint that it is to be used with, not continued (that is
// check_identity in train/resume): what would make the model or its inputs another thing is refused; what
// only changes which rows the splits hold is told, because evaluating on other rows is legitimate. Pure
// functions of what stands in the manifest. Called by the commands evaluate and predict.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/layout.h"
#include "data/dataset.h"
#include "train/deck.h"

namespace lepton::train {

/// What a run is: the deck's mathematical keys and, as "data.input_shape", what the network was made for.
checkpoint::Identity identity_of(const Deck& deck, const std::string& arithmetic_class,
                                 const data::Dataset& dataset);

/// Throws Error(deck) naming `rows` and both shapes when the network was trained on rows of another shape.
void require_same_shape(const checkpoint::Identity& trained, const std::vector<data::Input>& inputs,
                        const std::string& rows, const std::string& where);

/// Throws Error(deck), with the key and both values, at the first key by which `deck` describes another model
/// or other inputs than those that were trained: [model], data.normalize, data.inputs, data.transforms, and
/// with `same_layout` data.layout (new rows for predict may be stored in another one). `where`: the
/// checkpoint, for the message.
void require_same_model(const checkpoint::Identity& trained, const Deck& deck, const std::string& where,
                        bool same_layout);

/// A sentence that names every key by which the splits may hold other rows than in training, so that rows of
/// the test split may have been trained on; "" where there is none. The seed counts where a split is drawn by
/// fraction. Files are no part of an identity: other ones are noticed by the fingerprint of the train split.
std::string changed_splits(const checkpoint::Identity& trained, const Deck& deck,
                           const std::string& data_fingerprint, const std::string& where);

}  // namespace lepton::train
