//! The attach cookie: what a probe does, in 64 bits. Mirrors `bpf/event.h`; `src/attach/layout.rs` compares
//! the two.

use serde::{Serialize, Serializer};

use crate::discover::finding::{Abi, Call};
use crate::symdb::{ResultShape, Role};

/// Functions that one run can tell apart: the cookie has 16 bits for them.
pub const FUNCTIONS_MAX: usize = 1 << 16;

/// `DEPTH_UNIT`: depths are multiples of it.
const DEPTH_UNIT: u16 = 8;
/// The largest depth that a cookie holds, bytes.
pub const DEPTH_MAX: u16 = 255 * DEPTH_UNIT;

/// `NO_ARG`.
const NO_ARG: u8 = 15;
/// `PROBE_NSPR`.
const PROBE_NSPR: u8 = 1;
/// `PROBE_EARLY`.
const PROBE_EARLY: u8 = 2;
/// `PROBE_RESUMES`.
const PROBE_RESUMES: u8 = 4;
/// `PROBE_PEEKS`.
const PROBE_PEEKS: u8 = 8;
/// `PROBE_GUARDED`.
const PROBE_GUARDED: u8 = 16;
/// `PROBE_GO_STACK`.
const PROBE_GO_STACK: u8 = 32;

/// `FORM_RING`.
const FORM_RING: u8 = 1;
/// `FORM_EVP`.
const FORM_EVP: u8 = 2;
/// `FORM_OPAQUE`.
const FORM_OPAQUE: u8 = 3;
/// `FORM_BORROWED`.
const FORM_BORROWED: u8 = 4;

/// `enum agentsight_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Op {
    Data = 1,
    Handshake = 2,
    New = 3,
    Free = 4,
    Shutdown = 5,
    Clear = 6,
    UpRef = 7,
    SetFd = 8,
    Sendfile = 9,
    Flush = 10,
    Seal = 11,
    Open = 12,
}

/// The numbers of this file under their names in the header file, for the test that compares them.
#[cfg(all(test, feature = "bpf"))]
pub(crate) const CONSTANTS: &[(&str, u64)] = &[
    ("DEPTH_UNIT", DEPTH_UNIT as u64),
    ("PROBE_NSPR", PROBE_NSPR as u64),
    ("PROBE_EARLY", PROBE_EARLY as u64),
    ("PROBE_RESUMES", PROBE_RESUMES as u64),
    ("PROBE_PEEKS", PROBE_PEEKS as u64),
    ("PROBE_GUARDED", PROBE_GUARDED as u64),
    ("PROBE_GO_STACK", PROBE_GO_STACK as u64),
    ("OP_DATA", Op::Data as u64),
    ("OP_HANDSHAKE", Op::Handshake as u64),
    ("OP_NEW", Op::New as u64),
    ("OP_FREE", Op::Free as u64),
    ("OP_SHUTDOWN", Op::Shutdown as u64),
    ("OP_CLEAR", Op::Clear as u64),
    ("OP_UP_REF", Op::UpRef as u64),
    ("OP_SET_FD", Op::SetFd as u64),
    ("OP_SENDFILE", Op::Sendfile as u64),
    ("OP_FLUSH", Op::Flush as u64),
    ("OP_SEAL", Op::Seal as u64),
    ("OP_OPEN", Op::Open as u64),
    ("FORM_RING", FORM_RING as u64),
    ("FORM_EVP", FORM_EVP as u64),
    ("FORM_OPAQUE", FORM_OPAQUE as u64),
    ("FORM_BORROWED", FORM_BORROWED as u64),
    ("RESULT_I32", result_number(ResultShape::I32) as u64),
    ("RESULT_I64", result_number(ResultShape::I64) as u64),
    ("RESULT_OUT", result_number(ResultShape::Out) as u64),
    ("RESULT_ONE", result_number(ResultShape::One) as u64),
    ("RESULT_ZERO", result_number(ResultShape::Zero) as u64),
    ("RESULT_POINTER", result_number(ResultShape::Pointer) as u64),
    (
        "RESULT_OUT_POINTER",
        result_number(ResultShape::OutPointer) as u64,
    ),
    ("RESULT_PACKET", result_number(ResultShape::Packet) as u64),
    ("RESULT_ALL", result_number(ResultShape::All) as u64),
];

/// A packed probe description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie(u64);

impl Cookie {
    /// For a function of `library`; the function's index is 0.
    ///
    /// # Errors
    /// This role gets no probe; the reason.
    pub(super) fn new(library: &str, role: Role, call: Call) -> Result<Self, &'static str> {
        let (op, direction) = match call.abi {
            Abi::C => op(role)?,
            Abi::GoRegisters | Abi::GoStack => go_op(role)?,
            Abi::Ring | Abi::Evp | Abi::RustlsOpaque | Abi::RustlsBorrowed => record_op(role)?,
        };
        let argument = |n: Option<u8>| u64::from(n.unwrap_or(NO_ARG) & 15);
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(library == "nspr", PROBE_NSPR)
            | flag(call.early, PROBE_EARLY)
            | flag(call.resumes, PROBE_RESUMES)
            | flag(call.peeks, PROBE_PEEKS)
            | flag(call.abi == Abi::GoStack, PROBE_GO_STACK);
        Ok(Self(
            (op as u64) << 16
                | u64::from(
                    form(call.abi)
                        .or(call.result.map(result_number))
                        .unwrap_or(0),
                ) << 24
                | argument(call.buf) << 32
                | argument(call.len) << 36
                | argument(call.out) << 40
                | direction << 44
                | u64::from(flags) << 48,
        ))
    }

    /// The same for a function whose object is checked at run time.
    pub(super) fn guarded(self) -> Self {
        Self(self.0 | u64::from(PROBE_GUARDED) << 48)
    }

    /// The bits for the kernel, with the function's index and the stack's depth at the site in bytes.
    pub fn bits(self, function: u16, depth: u16) -> u64 {
        self.0 | u64::from(function) | u64::from(depth / DEPTH_UNIT) << 56
    }

    fn op(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// Whether the result matters.
    pub fn needs_return(self) -> bool {
        let watched = [
            Op::Data,
            Op::Flush,
            Op::Handshake,
            Op::New,
            Op::Open,
            Op::Sendfile,
        ];
        watched.iter().any(|op| *op as u8 == self.op())
    }

    /// Whether the object is an NSPR descriptor, which may be anything.
    pub fn is_nspr(self) -> bool {
        (self.0 >> 48) as u8 & PROBE_NSPR != 0
    }

    /// Whether plaintext passes here.
    pub fn moves_data(self) -> bool {
        let moving = [Op::Data, Op::Open, Op::Seal];
        moving.iter().any(|op| *op as u8 == self.op())
    }
}

impl Serialize for Cookie {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:#x}", self.0))
    }
}

/// What a C function of this role does, and in which direction.
fn op(role: Role) -> Result<(Op, u64), &'static str> {
    Ok(match role {
        Role::Close => (Op::Shutdown, 0),
        Role::Flush => (Op::Flush, 0),
        Role::Free => (Op::Free, 0),
        Role::Handshake => (Op::Handshake, 0),
        Role::New => (Op::New, 0),
        Role::Peek => {
            return Err("peeking does not consume: the same bytes are captured when read");
        }
        Role::Read => (Op::Data, 1),
        Role::Reset => (Op::Clear, 0),
        Role::Retain => (Op::UpRef, 0),
        Role::Sendfile => (Op::Sendfile, 0),
        Role::Socket => (Op::SetFd, 0),
        Role::Write => (Op::Data, 0),
    })
}

/// The same for a method of Go's `tls.Conn`. Memory is freed by the garbage collector: a connection
/// ends when it is closed.
fn go_op(role: Role) -> Result<(Op, u64), &'static str> {
    match role {
        Role::Close => Ok((Op::Free, 0)),
        Role::Read => Ok((Op::Data, 1)),
        Role::Write => Ok((Op::Data, 0)),
        _ => Err("not watched in Go"),
    }
}

/// The same for a function that encrypts or decrypts records.
fn record_op(role: Role) -> Result<(Op, u64), &'static str> {
    match role {
        Role::Read => Ok((Op::Open, 1)),
        Role::Write => Ok((Op::Seal, 0)),
        _ => Err("not watched in records"),
    }
}

/// `enum agentsight_form`, which takes the place of a result's shape.
fn form(abi: Abi) -> Option<u8> {
    match abi {
        Abi::C | Abi::GoRegisters | Abi::GoStack => None,
        Abi::Ring => Some(FORM_RING),
        Abi::Evp => Some(FORM_EVP),
        Abi::RustlsOpaque => Some(FORM_OPAQUE),
        Abi::RustlsBorrowed => Some(FORM_BORROWED),
    }
}

/// `enum agentsight_result`.
const fn result_number(result: ResultShape) -> u8 {
    match result {
        ResultShape::I32 => 1,
        ResultShape::I64 => 2,
        ResultShape::Out => 3,
        ResultShape::One => 4,
        ResultShape::Zero => 5,
        ResultShape::Pointer => 6,
        ResultShape::OutPointer => 7,
        ResultShape::Packet => 8,
        ResultShape::All => 9,
    }
}
