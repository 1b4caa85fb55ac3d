/*
 * What the commands about connections share. Worker threads, each for its own requests.
 */
#ifndef HC_COMMAND_CONNECTION_H
#define HC_COMMAND_CONNECTION_H

#include <stdbool.h>
#include "proto/slice.h"

struct hc_req;

/* Names the request's connection; empty takes the name away. False after replying with an error. */
bool hc_connection_set_name(struct hc_req *req, struct hc_slice name);

#endif
