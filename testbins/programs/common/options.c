// See options.h.
#include "options.h"

#include "process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct option_spec *find(const struct option_spec *table, const char *name)
{
    for (; table && table->name; table++)
        if (strcmp(table->name, name) == 0)
            return table;
    return NULL;
}

static size_t number_of(const char *name, const char *value)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (errno || end == value || *end || *value == '-')
        die("%s needs a number, not '%s'", name, value);
    return (size_t)number;
}

void parse_options(int argc, char **argv, const struct option_spec *own,
                   const struct option_spec *more)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        const struct option_spec *spec = find(own, name);
        if (!spec)
            spec = find(more, name);
        if (!spec)
            die("unknown option %s", name);
        if (spec->flag) {
            *spec->flag = true;
            continue;
        }
        if (++i == argc)
            die("%s needs a value", name);
        if (spec->number)
            *spec->number = number_of(name, argv[i]);
        else
            *spec->text = argv[i];
    }
}
