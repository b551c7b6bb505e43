// Long options only: `--flag`, `--number N`, `--text VALUE`. One table per program or library.
#ifndef TESTBINS_OPTIONS_H
#define TESTBINS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

// Exactly one target is set; the table ends with an entry whose name is NULL.
struct option_spec {
    const char *name;
    bool *flag;
    size_t *number;
    const char **text;
};

// Sets the targets named on the command line. Looks in `own`, then in `more` (may be NULL).
// An unknown option or a bad value ends the process with a message.
void parse_options(int argc, char **argv, const struct option_spec *own,
                   const struct option_spec *more);

#endif
