/* Answered requests on their way to one Python thread that waits for a descriptor, as an event loop does. No behaviour; see
 * _completions.pyx. Knows nothing of Python. */
#ifndef QUORATE_RUNTIME_COMPLETIONS_HPP
#define QUORATE_RUNTIME_COMPLETIONS_HPP

#include <cstdint>

#include "quorate/runtime/structs.hpp"

namespace quorate {

/* Shared by its handle and by each attached request that is not answered; the last one closes the descriptors. */
struct Answered {
    uint32_t references = 1;  /* atomic */
    Request *head = nullptr;  /* atomic: the newest answered one, one reference each; only whole lists are taken out */
    int fd = -1;              /* readable once something is in the list */
    int write_fd = -1;        /* the same, where the system has eventfd */
};

} // namespace quorate

#endif
