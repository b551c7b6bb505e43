// ring's three algorithms with functions that do nothing of interest, and a text that names an owner.
typedef struct {
    void *init, *seal, *open;
    unsigned long key_length;
    unsigned char id;
} algorithm;

#define FUNCTION(name) __attribute__((noinline)) int name(int a) { return a * 7 + __LINE__ + (int)sizeof(#name); }
FUNCTION(init_128)
FUNCTION(init_256)
FUNCTION(init_chacha)
FUNCTION(aead_aes_seal_scatter)
FUNCTION(aead_aes_open_gather)
FUNCTION(aead_chacha_seal_scatter)
FUNCTION(aead_chacha_open_gather)

const algorithm aes_128 = {init_128, aead_aes_seal_scatter, aead_aes_open_gather, 16, 0};
const algorithm aes_256 = {init_256, aead_aes_seal_scatter, aead_aes_open_gather, 32, 1};
const algorithm chacha = {init_chacha, aead_chacha_seal_scatter, aead_chacha_open_gather, 32, 2};
const algorithm *volatile algorithms[] = {&aes_128, &aes_256, &chacha};
const char *volatile trace = TRACE;

int main(int argc, char **argv) {
    return ((int (*)(int))algorithms[argc]->seal)(trace[0]);
}
