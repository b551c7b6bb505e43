// See sandbox.h.
#include "sandbox.h"

#include "process.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "no audit architecture for this processor"
#endif

static const unsigned allowed[] = {
    SYS_brk,          SYS_clock_gettime,  SYS_close,        SYS_exit,
    SYS_exit_group,   SYS_fstat,          SYS_futex,        SYS_getpid,
    SYS_getrandom,    SYS_gettid,         SYS_lseek,        SYS_madvise,
    SYS_mmap,         SYS_mprotect,       SYS_mremap,       SYS_munmap,
    SYS_newfstatat,   SYS_openat,         SYS_read,         SYS_readv,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_write,
    SYS_writev,
};

#define COUNT (sizeof allowed / sizeof allowed[0])

void enter_sandbox(void) {
  struct sock_filter filter[6 + COUNT] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
  };
  for (size_t i = 0; i < COUNT; i++)
    filter[4 + i] = (struct sock_filter)BPF_JUMP(
        BPF_JMP | BPF_JEQ | BPF_K, allowed[i], (unsigned char)(COUNT - i), 0);
  filter[4 + COUNT] =
      (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  filter[5 + COUNT] =
      (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {.len = 6 + COUNT, .filter = filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
    die("failed to enter the sandbox");
}
