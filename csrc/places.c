/* Jump, JumpBack, rendezvous and Maglev. See places.h. */
#include "places.h"

enum { PLACES_FEW = 32 }; /* up to here a preference list is made by insertion, above by a heap */

uint32_t places_jump(uint64_t hash, uint32_t buckets) {
    int64_t bucket = -1, next = 0;
    while (next < (int64_t)buckets) {
        bucket = next;
        hash = hash * 2862933555777941757u + 1;
        next = (int64_t)((double)(bucket + 1) * ((double)(1ll << 31) / (double)((hash >> 33) + 1)));
    }
    return (uint32_t)bucket;
}

static inline uint64_t places_splitmix(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The buckets a key would move to, were buckets added one by one, are its jumps. A power-of-two range [q, 2q) holds a
 * jump with probability 1/2, and the last one there is uniform in it: so one word tells, bit by bit, which ranges hold
 * one, and where. We go from the highest range down and look for the last jump below `buckets`. */
uint32_t places_jumpback(uint64_t hash, uint32_t buckets) {
    if (buckets <= 1) return 0;
    uint64_t first = places_splitmix(&hash);
    uint32_t ranges = (uint32_t)(first ^ (first >> 32)) & (UINT32_MAX >> __builtin_clz(buckets - 1));
    while (ranges) {
        uint32_t range = 1u << (31 - __builtin_clz(ranges));
        /* The halves of the word take turns, so that a place never depends on the bit that chose its range. */
        uint32_t half = (uint32_t)(first >> ((unsigned)(__builtin_popcount(ranges) & 1) << 5));
        uint32_t bucket = range + (half & (range - 1));
        for (;;) {
            if (bucket < buckets) return bucket;
            /* Beyond the end: the jump before it is uniform below it. A draw below the range says that the range has
             * no other. */
            uint64_t more = places_splitmix(&hash);
            bucket = (uint32_t)more & (2 * range - 1);
            if (bucket < range) break;
            if (bucket < buckets) return bucket;
            bucket = (uint32_t)(more >> 32) & (2 * range - 1);
            if (bucket < range) break;
        }
        ranges ^= range;
    }
    return 0;
}

/* A draw as a number in (0, 1): 52 bits and a half fit a double, so it is never 0 and never 1. */
static inline double places_uniform(uint64_t draw) { return ((double)(draw >> 12) + 0.5) * 0x1p-52; }

/* Below places_exponential(draw), without a logarithm: -ln x ≥ 1 - x, and the factor covers all rounding. Most nodes
 * are out by this alone. */
static inline double places_least(uint64_t draw) { return (1.0 - places_uniform(draw)) * 0.999999999; }

double places_exponential(uint64_t draw) {
    const double uniform = places_uniform(draw);
    uint64_t bits;
    memcpy(&bits, &uniform, sizeof bits);
    int64_t exponent = (int64_t)(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
    double mantissa;
    memcpy(&mantissa, &bits, sizeof mantissa);
    if (mantissa > 1.4142135623730951) {
        mantissa *= 0.5;
        exponent += 1;
    }
    /* ln m = 2 artanh((m - 1) / (m + 1)), |s| ≤ 0.1716. Near 1, where the least draws lie, exponent is 0 and nothing
     * cancels. */
    const double s = (mantissa - 1.0) / (mantissa + 1.0), z = s * s;
    double sum = 1.0 / 19;
    sum = sum * z + 1.0 / 17;
    sum = sum * z + 1.0 / 15;
    sum = sum * z + 1.0 / 13;
    sum = sum * z + 1.0 / 11;
    sum = sum * z + 1.0 / 9;
    sum = sum * z + 1.0 / 7;
    sum = sum * z + 1.0 / 5;
    sum = sum * z + 1.0 / 3;
    sum = sum * z + 1.0;
    return -((double)exponent * 0.6931471805599453 + 2.0 * s * sum);
}

uint32_t places_rendezvous(uint64_t hash, const uint64_t *seeds, uint32_t nodes) {
    uint32_t best = 0;
    uint64_t most = 0;
    for (uint32_t i = 0; i < nodes; i++) {
        const uint64_t draw = places_draw(hash, seeds[i]);
        if (draw > most) {
            most = draw;
            best = i;
        }
    }
    return best;
}

uint32_t places_rendezvous_weighted(uint64_t hash, const uint64_t *seeds, const double *inverse_weights,
                                    uint32_t nodes) {
    uint32_t best = 0;
    uint64_t best_draw = 0;
    double least = 0;
    for (uint32_t i = 0; i < nodes; i++) {
        const uint64_t draw = places_draw(hash, seeds[i]);
        if (i && places_least(draw) * inverse_weights[i] > least) continue;
        const double cost = places_exponential(draw) * inverse_weights[i];
        if (i == 0 || cost < least || (cost == least && draw > best_draw)) {
            least = cost;
            best_draw = draw;
            best = i;
        }
    }
    return best;
}

/* Whether node a with its cost and draw goes before node b with its own. */
static inline int places_before(double cost_a, uint64_t draw_a, uint32_t a, double cost_b, uint64_t draw_b,
                                uint32_t b) {
    if (cost_a < cost_b || cost_a > cost_b) return cost_a < cost_b;
    if (draw_a != draw_b) return draw_a > draw_b;
    return a < b;
}

/* Few are wanted: the best so far are kept in order, and nearly every node is refused by one comparison. */
static void places_few(uint64_t hash, const uint64_t *seeds, const double *inverse_weights, uint32_t nodes,
                       uint32_t wanted, double *costs, uint64_t *draws, uint32_t *order) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < nodes; i++) {
        const uint64_t draw = places_draw(hash, seeds[i]);
        double cost = 0;
        if (inverse_weights) {
            if (found == wanted && places_least(draw) * inverse_weights[i] > costs[wanted - 1]) continue;
            cost = places_exponential(draw) * inverse_weights[i];
        }
        uint32_t at = found;
        if (found == wanted) {
            if (!places_before(cost, draw, i, costs[at - 1], draws[at - 1], order[at - 1])) continue;
            at--;
        } else {
            found++;
        }
        for (; at > 0 && places_before(cost, draw, i, costs[at - 1], draws[at - 1], order[at - 1]); at--) {
            costs[at] = costs[at - 1];
            draws[at] = draws[at - 1];
            order[at] = order[at - 1];
        }
        costs[at] = cost;
        draws[at] = draw;
        order[at] = i;
    }
}

/* Lets order[at] sink in the heap order[0 … count-1], whose top is the best. */
static void places_sink(uint32_t *order, uint32_t at, uint32_t count, const double *costs, const uint64_t *draws) {
    for (;;) {
        uint32_t best = 2 * at + 1;
        if (best >= count) return;
        const uint32_t left = order[best], right = order[best + 1 < count ? best + 1 : best], node = order[at];
        if (places_before(costs[right], draws[right], right, costs[left], draws[left], left)) best++;
        const uint32_t child = order[best];
        if (!places_before(costs[child], draws[child], child, costs[node], draws[node], node)) return;
        order[at] = child;
        order[best] = node;
        at = best;
    }
}

void places_order(uint64_t hash, const uint64_t *seeds, const double *inverse_weights, uint32_t nodes, uint32_t wanted,
                  double *costs, uint64_t *draws, uint32_t *order) {
    if (wanted == 0) return;
    if (wanted <= PLACES_FEW) {
        places_few(hash, seeds, inverse_weights, nodes, wanted, costs, draws, order);
        return;
    }
    for (uint32_t i = 0; i < nodes; i++) {
        draws[i] = places_draw(hash, seeds[i]);
        costs[i] = inverse_weights ? places_exponential(draws[i]) * inverse_weights[i] : 0;
        order[i] = i;
    }
    for (uint32_t at = nodes / 2; at-- > 0;) places_sink(order, at, nodes, costs, draws);
    for (uint32_t found = 0, count = nodes; found < wanted; found++) {
        uint32_t best = order[0];
        order[0] = order[--count];
        order[count] = best;
        places_sink(order, 0, count, costs, draws);
    }
    for (uint32_t i = 0, j = nodes; i + 1 < j; i++) { /* the best came to the end one by one; turn all round */
        uint32_t node = order[i];
        order[i] = order[--j];
        order[j] = node;
    }
}

int places_is_prime(uint32_t number) {
    if (number < 4) return number > 1;
    if (number % 2 == 0 || number % 3 == 0) return 0;
    for (uint64_t i = 5; i * i <= number; i += 6)
        if (number % i == 0 || number % (i + 2) == 0) return 0;
    return 1;
}

static inline int places_sooner(const places_turn *a, const places_turn *b) {
    if (a->due < b->due || a->due > b->due) return a->due < b->due;
    return a->node < b->node;
}

void places_maglev(uint16_t *table, uint32_t size, const uint64_t *offsets, const uint64_t *skips,
                   const double *weights, uint32_t nodes, places_turn *heap) {
    for (uint32_t place = 0; place < size; place++) table[place] = UINT16_MAX;
    for (uint32_t i = 0; i < nodes; i++) {
        /* Later nodes are inserted below earlier ones that are due sooner, so the array is a heap at each step. */
        const uint32_t skip = (uint32_t)(skips[i] % (size - 1)) + 1;
        const places_turn turn = {0.5 / weights[i], i, 0, (uint32_t)(offsets[i] % size), skip};
        uint32_t at = i;
        for (; at > 0 && places_sooner(&turn, &heap[(at - 1) / 2]); at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
        heap[at] = turn;
    }
    for (uint32_t filled = 0; filled < size; filled++) {
        places_turn turn = heap[0];
        while (table[turn.place] != UINT16_MAX) { /* size is prime, so the permutation meets every place */
            turn.place += turn.skip;
            if (turn.place >= size) turn.place -= size;
        }
        table[turn.place] = (uint16_t)turn.node;
        turn.turns++;
        turn.due = ((double)turn.turns + 0.5) / weights[turn.node];
        uint32_t at = 0;
        for (;;) {
            uint32_t next = 2 * at + 1;
            if (next >= nodes) break;
            if (next + 1 < nodes && places_sooner(&heap[next + 1], &heap[next])) next++;
            if (!places_sooner(&heap[next], &turn)) break;
            heap[at] = heap[next];
            at = next;
        }
        heap[at] = turn;
    }
}
