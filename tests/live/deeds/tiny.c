/* Ends with 7, and needs nothing for it: -static -nostdlib. */
void _start(void)
{
#if defined(__x86_64__)
	__asm__ volatile("syscall" : : "a"(231), "D"(7));
#else
	register long status __asm__("x0") = 7;
	register long number __asm__("x8") = 94;

	__asm__ volatile("svc 0" : : "r"(status), "r"(number));
#endif
	__builtin_unreachable();
}
