/* Other processes of this machine: who is at the other end of a local socket, and a descriptor that tells of its exit. Knows
 * nothing of sessions. Where the system lacks what is needed, a process is simply not known. */
#ifndef QUORATE_PROCESS_H
#define QUORATE_PROCESS_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What tells a process from every other one that has or had its number: made of when it started, of this boot of the machine
 * and of the caller's name space of process numbers. The same for everybody who shares the last two, so that two sides that
 * come to the same mark speak of the same process, also if a tunnel or a container lies between them. 0: not known. */
uint64_t process_birth(uint32_t number);

/* 1 if the other end of a connected socket may be the process of this number, as far as the socket itself tells: a Unix
 * socket whose peer it is, or TCP that stays on this machine. */
int process_nearby(int socket, uint32_t number);

/* A descriptor that becomes readable when that very process has ended, close-on-exec; or -errno: -ESRCH if there is no such
 * process, -ENOSYS if the system cannot tell. */
int process_watch(uint32_t number, uint64_t birth);

#ifdef __cplusplus
}
#endif
#endif
