// What the programs send: bytes that follow from (connection, message) alone, so that the receiver
// can check them and no two streams are alike.
//
// A framed payload starts with a fixed-size line that names its kind, connection, message and size:
//     AGENTSIGHT text c=000001 m=000002 n=000001024\n
#ifndef TESTBINS_PAYLOAD_H
#define TESTBINS_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>

#define FRAME_HEADER ((size_t)46)

struct frame {
    size_t connection;
    size_t message;
    size_t size; // of the whole payload, header included
    bool binary; // kind `data`: all byte values; else kind `text`: printable lines
};

// Fills `size` bytes: printable text in lines, or all byte values.
void payload_fill(char *bytes, size_t size, size_t connection, size_t message, bool binary);

// Fills a whole framed payload; frame->size must be at least FRAME_HEADER.
void frame_fill(char *bytes, const struct frame *frame);

// Reads a frame header; ends the process if it is not one.
struct frame frame_parse(const char *bytes);

// Ends the process unless `bytes` are exactly what frame_fill() makes.
void frame_check(const char *bytes, const struct frame *frame);

#endif
