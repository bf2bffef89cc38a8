/* Placement without a ring: jump, JumpBack, weighted rendezvous and Maglev, over hashed keys and hashed nodes.
 *
 * Nodes are numbers here. Every result is the same on every machine: integers, and single steps of IEEE 754 arithmetic
 * (build with -ffp-contract=off, so that no compiler fuses two of them). Knows nothing of names; allocates nothing. */
#ifndef QUORATE_PLACES_H
#define QUORATE_PLACES_H

#include "base.h"
#include "xxh3.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Jump consistent hash: Lamping, Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014, Figure 1. `buckets`
 * ≥ 1. */
uint32_t places_jump(uint64_t hash, uint32_t buckets);

/* JumpBackHash: Ertl, "JumpBackHash: Say Goodbye to the Modulo Operation to Distribute Keys Uniformly to Buckets",
 * 2024, with SplitMix64 as its generator. 1 ≤ `buckets` ≤ 2^31. */
uint32_t places_jumpback(uint64_t hash, uint32_t buckets);

/* What node and key draw together: XXH3-64 of the key's hash under the node's seed. */
static inline uint64_t places_draw(uint64_t hash, uint64_t node_seed) {
    hash = QUORATE_LE64(hash);
    return xxh3_64(&hash, sizeof hash, node_seed);
}

/* -ln of a draw taken as a number in (0, 1), to a few units in the last place. */
double places_exponential(uint64_t draw);

/* The owner by rendezvous (Thaler, Ravishankar 1998): the highest draw; the lowest number of several equal ones. */
uint32_t places_rendezvous(uint64_t hash, const uint64_t *seeds, uint32_t nodes);

/* Weighted: the least of -ln(draw) / weight (the logarithmic method of Schindelhauer, Schomaker, "Weighted Distributed
 * Hash Tables", 2005); equal ones go to the higher draw, then to the lower number. With equal weights the owner is the
 * one above. */
uint32_t places_rendezvous_weighted(uint64_t hash, const uint64_t *seeds, const double *inverse_weights,
                                    uint32_t nodes);

/* The order of preference of both: the first `wanted` ≤ `nodes` places of `order` get the best nodes, best first; the
 * rest means nothing. `costs` and `draws` are scratch, one for each node; `inverse_weights` may be NULL. */
void places_order(uint64_t hash, const uint64_t *seeds, const double *inverse_weights, uint32_t nodes, uint32_t wanted,
                  double *costs, uint64_t *draws, uint32_t *order);

/* Whether a number is prime; by trial division, so for numbers of a table's size. */
int places_is_prime(uint32_t number);

/* A number in [0, size) from a hash, by its upper half. */
static inline uint32_t places_reduce(uint64_t hash, uint32_t size) { return (uint32_t)(((hash >> 32) * size) >> 32); }

/* One turn of a node in filling a Maglev table. */
typedef struct places_turn {
    double due;      /* when the node's next turn is: turns so far + 1/2, over its weight */
    uint32_t node;
    uint32_t turns;  /* so far */
    uint32_t place;  /* next one to try in its permutation of the table */
    uint32_t skip;
} places_turn;

/* Fills a Maglev lookup table: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI
 * 2016, §3.4. `size` is a prime > 2; `offsets` and `skips` are two hashes for each node. Nodes take turns in order of
 * (turns + 1/2) / weight, then of number: with equal weights that is the paper's round, else each share is kept to
 * within a few places. `heap` is scratch, one for each node; 1 ≤ `nodes` ≤ 65535. */
void places_maglev(uint16_t *table, uint32_t size, const uint64_t *offsets, const uint64_t *skips,
                   const double *weights, uint32_t nodes, places_turn *heap);

#ifdef __cplusplus
}
#endif
#endif
