//! The system calls of the sandboxed child: a seccomp filter on itself, and an end that passes it.

use std::io;

/// `AUDIT_ARCH_*` (include/uapi/linux/audit.h): what a filter must compare first, since numbers of
/// system calls mean different things in 32-bit mode.
#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// Places of `arch` and `nr` in `struct seccomp_data`.
const ARCH_AT: u32 = 4;
const NUMBER_AT: u32 = 0;

/// What the sandboxed child still may call: less than any real sandbox allows.
const ALLOWED: [libc::c_long; 4] = [
    libc::SYS_write,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigreturn,
];

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

fn instruction(code: u32, jt: usize, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: jt as u8,
        jf: 0,
        k,
    }
}

/// Kills the process at any call but the allowed ones.
fn filter() -> Vec<libc::sock_filter> {
    let mut filter = vec![
        instruction(LOAD, 0, ARCH_AT),
        instruction(JUMP_IF_EQUAL, 1, AUDIT_ARCH),
        instruction(RETURN, 0, libc::SECCOMP_RET_KILL_PROCESS),
        instruction(LOAD, 0, NUMBER_AT),
    ];
    for (index, number) in ALLOWED.into_iter().enumerate() {
        // Over the other comparisons and the kill.
        filter.push(instruction(
            JUMP_IF_EQUAL,
            ALLOWED.len() - index,
            number as u32,
        ));
    }
    filter.push(instruction(RETURN, 0, libc::SECCOMP_RET_KILL_PROCESS));
    filter.push(instruction(RETURN, 0, libc::SECCOMP_RET_ALLOW));
    filter
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Puts this thread behind the filter, for good. A death from it leaves no core file.
pub fn enter_sandbox() -> io::Result<()> {
    let mut filter = filter();
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: these options take numbers only.
    unsafe {
        done(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0).into())?;
        done(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
    }
    // SAFETY: the kernel copies the program, which outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    done(result)
}

/// Says a last line and ends the process, with nothing but allowed calls.
pub fn say_and_exit(line: &[u8]) -> ! {
    // SAFETY: the buffer is as long as stated; _exit runs no code of this process any more.
    unsafe {
        libc::write(libc::STDOUT_FILENO, line.as_ptr().cast(), line.len());
        libc::_exit(0)
    }
}
