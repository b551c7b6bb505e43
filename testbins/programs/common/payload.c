// See payload.h.
#include "payload.h"

#include "process.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE 64

// xorshift64*: small, fast, and the same everywhere.
static uint64_t next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1DULL;
}

static char as_text(uint64_t random, size_t position)
{
    static const char alphabet[] =
        "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789";
    if (position % LINE == LINE - 1)
        return '\n';
    return alphabet[random % (sizeof alphabet - 1)];
}

void payload_fill(char *bytes, size_t size, size_t connection, size_t message, bool binary)
{
    // The odd constants keep neighbouring numbers apart; the 1 keeps the state from being zero.
    uint64_t state = (connection * 0x9E3779B97F4A7C15ULL) ^ (message * 0xC2B2AE3D27D4EB4FULL) ^ 1;
    for (size_t i = 0; i < size; i++) {
        uint64_t random = next(&state) >> 32;
        bytes[i] = binary ? (char)random : as_text(random, i);
    }
}

void frame_fill(char *bytes, const struct frame *frame)
{
    char header[FRAME_HEADER + 1];
    int length = snprintf(header, sizeof header, "AGENTSIGHT %s c=%06zu m=%06zu n=%09zu\n",
                          frame->binary ? "data" : "text", frame->connection, frame->message,
                          frame->size);
    if (length < 0 || (size_t)length != FRAME_HEADER || frame->size < FRAME_HEADER)
        die("a payload of %zu bytes does not fit its %zu byte header", frame->size, FRAME_HEADER);
    memcpy(bytes, header, FRAME_HEADER);
    payload_fill(bytes + FRAME_HEADER, frame->size - FRAME_HEADER, frame->connection,
                 frame->message, frame->binary);
}

struct frame frame_parse(const char *bytes)
{
    char header[FRAME_HEADER + 1] = {0};
    char kind[5];
    struct frame frame;
    memcpy(header, bytes, FRAME_HEADER);
    int fields = sscanf(header, "AGENTSIGHT %4s c=%6zu m=%6zu n=%9zu", kind, &frame.connection,
                        &frame.message, &frame.size);
    if (fields != 4 || frame.size < FRAME_HEADER)
        die("received bytes that are no frame");
    frame.binary = strcmp(kind, "data") == 0;
    return frame;
}

void frame_check(const char *bytes, const struct frame *frame)
{
    char *wanted = allocate(frame->size);
    frame_fill(wanted, frame);
    if (memcmp(bytes, wanted, frame->size) != 0)
        die("message %zu of connection %zu was damaged", frame->message, frame->connection);
    free(wanted);
}
