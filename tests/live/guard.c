// Functions of a TLS library's shapes. The first word of a connection object is the address of a table,
// and that of another object is not.

#include <stdio.h>
#include <string.h>

const char table[64] = "methods";

struct object {
    const char *first;
    char bytes[100];
};

__attribute__((noinline, noclone)) long guarded_write(struct object *object, const char *data, unsigned long size)
{
    memcpy(object->bytes, data, size);
    __asm__ volatile("" ::: "memory");
    return size;
}

__attribute__((noinline, noclone)) long guarded_read(struct object *object, char *data, unsigned long size)
{
    memcpy(data, object->bytes, size);
    __asm__ volatile("" ::: "memory");
    return size;
}

int main(void)
{
    struct object right = {.first = table}, wrong = {.first = table + 1};
    char data[100];

    for (;;) {
        switch (getchar()) {
        case 'r':
            guarded_write(&right, "right", 5);
            guarded_read(&right, data, 5);
            break;
        case 'w':
            guarded_write(&wrong, "wrong", 5);
            guarded_read(&wrong, data, 5);
            guarded_write((struct object *)(data + 1), "", 0);
            break;
        case '\n':
            puts("done");
            fflush(stdout);
            break;
        default:
            return 0;
        }
    }
}
