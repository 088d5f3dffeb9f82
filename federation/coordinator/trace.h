// What a message of the protocol says, in one line for a person who watches a round.
#pragma once

#include <string>

#include "comms/base/bytes.h"
#include "comms/rpc/atoll.pb.h"

namespace atl::coordinator {

// "R1 ready": the protocol's step and the message's name.
std::string StepTitle(v1::Step step);

// The public contents of an encoded message: sets, digests, sizes. Of keys and shares only how many
// there are. A payload that does not decode is said to be one.
std::string DescribeStep(v1::Step step, ByteView payload);

}  // namespace atl::coordinator
