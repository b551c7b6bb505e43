// Carries another program (CARRIED) along as data, with code of its own at the same addresses.
#define ONE(n) __attribute__((noinline)) int own_##n(int a, int b) { return (a + n) * (b ^ (n * 77777)) / (a * 3 + 1); }
#define TEN(n) ONE(n##0) ONE(n##1) ONE(n##2) ONE(n##3) ONE(n##4) ONE(n##5) ONE(n##6) ONE(n##7) ONE(n##8) ONE(n##9)
#define HUNDRED(n) TEN(n##0) TEN(n##1) TEN(n##2) TEN(n##3) TEN(n##4) TEN(n##5) TEN(n##6) TEN(n##7) TEN(n##8) TEN(n##9)
HUNDRED(1)
HUNDRED(2)
HUNDRED(3)

const char *volatile trace = TRACE;
__asm__(".data\n.balign 4096\n.globl carried\ncarried: .ascii \"" HEAD "\"\n.incbin \"" CARRIED "\", 4\n.text\n");
extern char carried[];

int main(int argc, char **argv) {
    return own_399(argc, carried[argc]) + trace[0];
}
