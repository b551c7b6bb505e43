//! Does a uretprobe kill programs behind a strict seccomp filter? Tried on a child of our own.
//!
//! Since 6.11 a probed function returns through a system call of its own, uretprobe(2) on x86-64. A
//! filter that lists what is allowed does not list it, and the program dies. Kernels with "seccomp:
//! passthrough uretprobe systemcall without filtering" (6.14) let it through; aarch64 traps instead.

use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::child::{Child, Launcher, Part, listen, marked, say};
use super::{Check, place, sys};
use crate::attach::Session;
use crate::discover::finding::{Call, Sites};
use crate::discover::{Confidence, Finding, Function, Report};
use crate::error::{Context, Error, ErrorKind, OrInvalid, Result};
use crate::event::Event;
use crate::image::{FileOff, ImageFile, VirtAddr};
use crate::plan::ProbePlan;
use crate::symdb::{ResultShape, Role};

const NAME: &str = "sandboxed targets";
const TIMEOUT: Duration = Duration::from_secs(5);

/// The child's last word, and (as the line it is said with) what its function is given.
const TOKEN: &str = "survived";

/// Says whether sandboxed programs survive being watched. The session follows targets only.
pub fn check(launcher: &Launcher, session: Option<&mut Session>) -> Check {
    let Some(session) = session else {
        return untried("programs do not load");
    };
    match try_out(launcher, session) {
        Ok(Outcome::Survived) => Check::ok(
            NAME,
            "a child behind a strict seccomp filter survived a return probe",
        ),
        Ok(Outcome::Killed(signal)) => Check::warn(
            NAME,
            format!(
                "a return probe kills programs behind a strict seccomp filter (a child died of \
                 signal {signal}): browser sandboxes, some containers and services"
            ),
            "do not attach to programs with \"Seccomp: 2\" in /proc/PID/status, or use kernel 6.14 \
             or newer",
        ),
        Err(error) => untried(&format!("{error:#}")),
    }
}

fn untried(why: &str) -> Check {
    Check::warn(
        NAME,
        format!("could not be tried: {why}"),
        "until this is known, do not attach to programs with \"Seccomp: 2\" in /proc/PID/status",
    )
}

enum Outcome {
    Survived,
    Killed(i32),
}

fn try_out(launcher: &Launcher, session: &mut Session) -> Result<Outcome> {
    let deadline = Instant::now() + TIMEOUT;
    // Without a probe first: what dies then dies of the filter, and nothing can be learnt.
    if !run(launcher, deadline, |_| Ok(()))?.success() {
        return Err(Error::invalid("the child does not survive its own filter"));
    }
    // Before the child starts: the kernel side judges a process once, when it execs.
    session.add_target(&launcher.file()?)?;
    let ring = session.ring()?.start()?;
    let status = run(launcher, deadline, |offset| {
        probe(session, launcher, offset)
    })?;
    ring.finish();
    let spoken = marked(TOKEN).into_bytes();
    let seen = ring
        .events
        .iter()
        .any(|event| matches!(event, Event::Data { data, .. } if data.payload == spoken));
    match (status.signal(), seen) {
        (Some(signal), _) => Ok(Outcome::Killed(signal)),
        (None, false) => Err(Error::invalid("the probe was not hit")),
        (None, true) => Ok(Outcome::Survived),
    }
}

/// One child from its start to its end; `prepare` is told where its function is.
fn run(
    launcher: &Launcher,
    deadline: Instant,
    prepare: impl FnOnce(FileOff) -> Result<()>,
) -> Result<ExitStatus> {
    let mut child = Child::start(launcher, Part::Sandbox, deadline)?;
    let said = child.hear()?.or_invalid(|| "the child ended early")?;
    let strange = |said: &str| Error::new(ErrorKind::Io, format!("the child said: {said}"));
    let offset = said.strip_prefix("ready ").and_then(|n| n.parse().ok());
    prepare(FileOff(offset.ok_or_else(|| strange(&said))?))?;
    child.tell("go")?;
    let said = child.hear()?.unwrap_or_default();
    let status = child.end()?;
    if status.success() && said != TOKEN {
        return Err(strange(&said));
    }
    Ok(status)
}

/// Watches the child's function as if it were one of a TLS library.
fn probe(session: &mut Session, launcher: &Launcher, offset: FileOff) -> Result<()> {
    let program = ImageFile::from_file(launcher.program(), launcher.file()?)?;
    let image = program.image()?;
    let report = pretend(offset);
    let mut plan = ProbePlan::new(&report, image.arch, image.is_64, program.identity())?;
    plan.path = launcher.program().to_owned();
    let attached = session.attach(&plan, program.file())?;
    match attached.failed.first() {
        None => Ok(()),
        Some((_, reason)) => Err(Error::new(ErrorKind::UnsupportedKernel, reason.clone())),
    }
}

/// What discovery would say if [`watched`] were an SSL_write.
fn pretend(offset: FileOff) -> Report {
    let function = Function {
        name: "watched".into(),
        role: Role::Write,
        vaddr: VirtAddr(0),
        file_offset: offset,
        size: 0,
        confidence: Confidence::High,
        evidence: Vec::new(),
        sites: Sites::classic(VirtAddr(0), offset, true),
        call: Call {
            result: Some(ResultShape::I32),
            buf: Some(1),
            len: Some(2),
            ..Call::default()
        },
        legal: None,
        covered_by: None,
        unprobed: None,
    };
    Report {
        path: String::new(),
        arch: String::new(),
        build_id: None,
        size: 0,
        findings: vec![Finding {
            library: "doctor".into(),
            version: None,
            provider: None,
            compiler: None,
            functions: vec![function],
            guard: None,
            go: None,
        }],
        refused: Vec::new(),
        warnings: Vec::new(),
        imports: Vec::new(),
        ladder: Vec::new(),
    }
}

/// The child: says where its function is, waits for the probe, locks itself in and calls it.
pub fn peer() -> Result<()> {
    let function: Watched = watched;
    let place = place::of_code(function as usize)?;
    say(&format!("ready {}", place.offset.0))?;
    if listen()?.is_none() {
        return Ok(());
    }
    let last = marked(TOKEN);
    sys::enter_sandbox().context(|| "failed to enter the sandbox")?;
    // The buffer was just written: its pages are there to be read.
    black_box(function)(&raw const last as _, last.as_ptr(), last.len() as i32);
    sys::say_and_exit(last.as_bytes())
}

/// As the functions that move plaintext: connection, buffer, length.
type Watched = extern "C" fn(*const (), *const u8, i32) -> i32;

/// Does nothing that the optimizer could leave out, and makes no system call.
#[inline(never)]
extern "C" fn watched(connection: *const (), buffer: *const u8, length: i32) -> i32 {
    black_box((connection, buffer));
    black_box(length)
}
