// The messages of a split into groups, by commit and reveal, in their one canonical encoding, as
// those of messages.h. Each is of one attempt; attempts count from 1.
#pragma once

#include "federation/secagg/messages.h"

namespace atl::secagg {

// From the coordinator: take part in this attempt.
struct GroupOpen {
  uint32_t attempt = 0;
};

// A site's commitment to its nonce: SHA-256("group" || run || attempt || id || nonce).
struct GroupCommit {
  uint32_t attempt = 0;
  SiteId id;
  Digest commit{};
};

// The commits of all sites that are to be dealt, by id.
struct GroupCommitSet {
  struct Item {
    SiteId id;
    Digest commit{};
  };
  uint32_t attempt = 0;
  std::vector<Item> items;
};

// "group-commits" over H(all commits).
struct GroupSignature {
  uint32_t attempt = 0;
  SiteId id;
  Signature signature{};
};

// Everybody's, by id: with these a site reveals.
struct GroupSignatureSet {
  struct Item {
    SiteId id;
    Signature signature{};
  };
  uint32_t attempt = 0;
  std::vector<Item> items;
};

struct GroupReveal {
  uint32_t attempt = 0;
  SiteId id;
  Digest nonce{};
};

// Everybody's, by id: from these each site computes who is in which group.
struct GroupRevealSet {
  struct Item {
    SiteId id;
    Digest nonce{};
  };
  uint32_t attempt = 0;
  std::vector<Item> items;
};

// SHA-256 of the canonical encoding: H(all commits).
Digest HashOf(const GroupCommitSet& set);
// SHA-256("group" || run || attempt || id || nonce).
Digest GroupCommitment(const RunId& run, uint32_t attempt, SiteId id, const Digest& nonce);

std::vector<SiteId> IdsOf(const GroupCommitSet& set);
std::vector<SiteId> IdsOf(const GroupSignatureSet& set);
std::vector<SiteId> IdsOf(const GroupRevealSet& set);

}  // namespace atl::secagg
