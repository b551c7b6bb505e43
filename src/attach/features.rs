//! What this kernel can do, found out by trying, never by its version.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use libbpf_rs::libbpf_sys::{self as sys, bpf_func_id, bpf_map_type, bpf_prog_type};
use serde::Serialize;

/// Abilities of the running kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Features {
    /// `BPF_MAP_TYPE_RINGBUF` (5.8).
    pub ring_buffer: bool,
    /// `bpf_get_attach_cookie` (5.15).
    pub attach_cookie: bool,
    /// `bpf_loop` (5.17).
    pub bpf_loop: bool,
    /// `bpf_find_vma` (5.17).
    pub find_vma: bool,
    /// `BPF_TRACE_UPROBE_MULTI` links (6.6).
    pub uprobe_multi: bool,
    /// Tracepoints `sock_send_length` and `sock_recv_length` (6.3), with `bpf_task_pt_regs` (5.15).
    pub socket_lengths: bool,
    /// Programs of the type `tp_btf` on `sys_exit` (5.5), and iterators over maps (5.8).
    pub system_calls: bool,
    /// `BPF_TRACE_UPROBE_SESSION` links (6.13).
    pub uprobe_session: bool,
    /// Return probes, which every kernel has; whether sandboxed programs survive them is tried apart.
    pub return_probes: bool,
}

impl Features {
    /// Asks the kernel. Without privileges the answers are all no.
    ///
    /// Names in the environment variable `AGENTSIGHT_WITHOUT` (with commas between) are taken as
    /// missing, so that what is done on older kernels can be tried on a new one.
    pub fn probe() -> Self {
        let mut features = Self::ask();
        let without = std::env::var("AGENTSIGHT_WITHOUT").unwrap_or_default();
        for name in without.split(',') {
            match name {
                "bpf_loop" => features.bpf_loop = false,
                "find_vma" => features.find_vma = false,
                "return_probes" => features.return_probes = false,
                "socket_lengths" => features.socket_lengths = false,
                "system_calls" => features.system_calls = false,
                "uprobe_multi" => features.uprobe_multi = false,
                "uprobe_session" => features.uprobe_session = false,
                _ => {}
            }
        }
        features.uprobe_session &= features.uprobe_multi;
        features
    }

    fn ask() -> Self {
        Self {
            ring_buffer: has_map(sys::BPF_MAP_TYPE_RINGBUF),
            attach_cookie: has_helper(sys::BPF_FUNC_get_attach_cookie),
            bpf_loop: has_helper(sys::BPF_FUNC_loop),
            find_vma: has_helper(sys::BPF_FUNC_find_vma),
            socket_lengths: has_helper(sys::BPF_FUNC_task_pt_regs)
                && has_tracepoint(c"sock_send_length")
                && has_tracepoint(c"sock_recv_length"),
            system_calls: takes_typed(c"sys_exit", sys::BPF_TRACE_RAW_TP)
                && takes_typed(c"bpf_map_elem", sys::BPF_TRACE_ITER),
            uprobe_multi: takes_multi_links(sys::BPF_TRACE_UPROBE_MULTI),
            return_probes: true,
            uprobe_session: takes_multi_links(sys::BPF_TRACE_UPROBE_SESSION),
        }
    }
}

fn has_map(kind: bpf_map_type) -> bool {
    // SAFETY: takes no pointers but optional options.
    unsafe { sys::libbpf_probe_bpf_map_type(kind, ptr::null()) == 1 }
}

fn has_helper(helper: bpf_func_id) -> bool {
    let kind: bpf_prog_type = sys::BPF_PROG_TYPE_KPROBE;
    // SAFETY: takes no pointers but optional options.
    unsafe { sys::libbpf_probe_bpf_helper(kind, helper, ptr::null()) == 1 }
}

/// Whether the kernel's BTF has the tracepoint.
fn has_tracepoint(name: &CStr) -> bool {
    btf_id(name, sys::BPF_TRACE_RAW_TP).is_some()
}

fn btf_id(name: &CStr, attach_type: u32) -> Option<u32> {
    // SAFETY: the name outlives the call.
    let id = unsafe { sys::libbpf_find_vmlinux_btf_id(name.as_ptr(), attach_type) };
    u32::try_from(id).ok().filter(|id| *id > 0)
}

/// Whether a program that does nothing loads for this place, which the kernel's BTF describes.
fn takes_typed(name: &CStr, attach_type: u32) -> bool {
    let Some(attach_btf_id) = btf_id(name, attach_type) else {
        return false;
    };
    let opts = sys::bpf_prog_load_opts {
        attach_btf_id,
        ..load_opts(attach_type)
    };
    load_empty(sys::BPF_PROG_TYPE_TRACING, opts).is_some()
}

/// Loads a program that does nothing for this attach type and links it to the root directory. A
/// kernel that knows such links says that this is no file with code (EBADF); one that does not says
/// EINVAL. libbpf (src/features.c, probe_uprobe_multi_link) asks the same question.
fn takes_multi_links(attach_type: u32) -> bool {
    let program = load_empty(sys::BPF_PROG_TYPE_KPROBE, load_opts(attach_type));
    let Some(program) = program else {
        return false;
    };
    let offset: std::ffi::c_ulong = 0;
    let mut opts = sys::bpf_link_create_opts {
        sz: size_of::<sys::bpf_link_create_opts>() as _,
        ..Default::default()
    };
    opts.__bindgen_anon_1.uprobe_multi.path = c"/".as_ptr();
    opts.__bindgen_anon_1.uprobe_multi.offsets = &offset;
    opts.__bindgen_anon_1.uprobe_multi.cnt = 1;
    // SAFETY: the options and what they point to outlive the call.
    let link = unsafe { sys::bpf_link_create(program.as_raw_fd(), -1, attach_type, &opts) };
    if link >= 0 {
        // SAFETY: a fresh descriptor that nobody else owns; dropping closes it.
        drop(unsafe { OwnedFd::from_raw_fd(link) });
        return true;
    }
    -link == libc::EBADF
}

fn load_opts(expected_attach_type: u32) -> sys::bpf_prog_load_opts {
    sys::bpf_prog_load_opts {
        sz: size_of::<sys::bpf_prog_load_opts>() as _,
        expected_attach_type,
        ..Default::default()
    }
}

fn load_empty(kind: bpf_prog_type, opts: sys::bpf_prog_load_opts) -> Option<OwnedFd> {
    // r0 = 0; exit (include/uapi/linux/bpf.h: BPF_ALU64 | BPF_MOV | BPF_K, BPF_JMP | BPF_EXIT)
    let code = [0xb7, 0x95].map(|code| sys::bpf_insn {
        code,
        ..Default::default()
    });
    // SAFETY: all pointers outlive the call; the length is that of `code`.
    let fd = unsafe {
        sys::bpf_prog_load(
            kind,
            ptr::null(),
            c"Dual BSD/GPL".as_ptr(),
            code.as_ptr(),
            code.len() as _,
            (&raw const opts).cast_mut(),
        )
    };
    // SAFETY: a fresh descriptor that nobody else owns.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}
