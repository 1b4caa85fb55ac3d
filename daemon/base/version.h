/* The version of the program. */
#ifndef HC_BASE_VERSION_H
#define HC_BASE_VERSION_H

#define HC_VERSION "0.1.0"
/* What clients that look for a Redis are told: the version whose commands and replies are followed. */
#define HC_REDIS_VERSION "7.0.15"

#endif
