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
use crate::attach::{BenchKind, Session};
use crate::error::{Context, Error, ErrorKind, OrInvalid, Result};
use crate::image::FileOff;

const NAME: &str = "sandboxed targets";
const TIMEOUT: Duration = Duration::from_secs(5);

/// The child's last word.
const TOKEN: &str = "survived";

/// Says whether sandboxed programs survive being watched.
pub fn check(launcher: &Launcher, session: Option<&Session>) -> Check {
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
            "attach uses no return probes here, and names the functions that it cannot watch without; \
             kernels from 6.14 on let them through",
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

fn try_out(launcher: &Launcher, session: &Session) -> Result<Outcome> {
    let deadline = Instant::now() + TIMEOUT;
    // Without a probe first: what dies then dies of the filter, and nothing can be learnt.
    if !run(launcher, deadline, |_| Ok(()))?.success() {
        return Err(Error::invalid("the child does not survive its own filter"));
    }
    let file = launcher.file()?;
    let mut probes = Vec::new();
    let before = session.bench_hits();
    let status = run(launcher, deadline, |offset| {
        probes.push(session.attach_bench(&file, offset, BenchKind::Both)?);
        Ok(())
    })?;
    match (status.signal(), session.bench_hits() - before) {
        (Some(signal), _) => Ok(Outcome::Killed(signal)),
        // More, if others try the same with this program at this moment.
        (None, 2..) => Ok(Outcome::Survived),
        (None, hits) => Err(Error::invalid(format!("{hits} hits at entry and return"))),
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
    black_box(function)(1);
    sys::say_and_exit(last.as_bytes())
}

type Watched = extern "C" fn(i32) -> i32;

/// Does nothing that the optimizer could leave out, and makes no system call.
#[inline(never)]
extern "C" fn watched(number: i32) -> i32 {
    black_box(number)
}
