//! The whole way once: a child of our own talks TLS with itself, and what is captured of it is compared
//! with what it was told to say, byte for byte in both directions.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use super::child::{Child, Launcher, Part};
use super::{Check, hex};
use crate::attach::{Events, Scope, Session, Settings};
use crate::discover::{self, Report};
use crate::error::{Context, Error, ErrorKind, OrInvalid, Result};
use crate::event::process::{Property, Question};
use crate::event::wire::Counter;
use crate::event::{ConnId, Direction, Event, ProcessId};
use crate::host::privileges;
use crate::image::ImageFile;
use crate::image::debug_file::DebugDirs;
use crate::plan::ProbePlan;
use crate::symdb::SymbolDb;

const NAME: &str = "self test";

/// For everything together.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A request that fits into one TLS record and an answer that does not (RFC 8446, section 5.1: 2^14).
const REQUEST_LEN: usize = 1000;
const RESPONSE_LEN: usize = 20_000;

/// Both ends are in the child, so each byte is seen when written and when read.
const EXPECTED: usize = 2 * (REQUEST_LEN + RESPONSE_LEN);

const RING_BYTES: u32 = 1 << 20;

/// Captures a TLS exchange of a child of our own.
pub fn check(launcher: &Launcher) -> Check {
    if privileges::require_for_attach().is_err() {
        return Check::fail(NAME, "not tried: privileges are missing", "see privileges");
    }
    match run(launcher) {
        Ok(Outcome::Captured(figures)) => Check::ok(NAME, figures.to_string()),
        Ok(Outcome::Skipped(why)) => Check::warn(
            NAME,
            format!("skipped: {why}"),
            "install OpenSSL's library (Debian, Ubuntu: libssl3; Fedora: openssl-libs) to have it run",
        ),
        Err(error) => Check::fail(
            NAME,
            format!("{error:#}"),
            "look at the failed checks above; if there are none, please report this output",
        ),
    }
}

enum Outcome {
    Captured(Figures),
    Skipped(String),
}

struct Figures {
    version: String,
    path: String,
    functions: usize,
    attach: Duration,
    first: Duration,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            f,
            "captured {EXPECTED} of {EXPECTED} bytes, none lost or changed; {} functions of {} ({}); \
             loaded and attached in {:.1} ms, first plaintext {:.1} ms after it was asked for",
            self.functions,
            self.version,
            self.path,
            ms(self.attach),
            ms(self.first)
        )
    }
}

/// Every failure starts with the name of its stage.
fn run(launcher: &Launcher) -> Result<Outcome> {
    let deadline = Instant::now() + TIMEOUT;
    let mut child = Child::start(launcher, Part::Tls, deadline).context(|| "start")?;
    let Some(target) = Target::hear(&child).context(|| "start")? else {
        return Ok(Outcome::Skipped(
            "no OpenSSL library on this machine".into(),
        ));
    };
    let plan = target.plan()?;
    let began = Instant::now();
    let mut session = open(launcher).context(|| "load")?;
    let ring = session.ring().and_then(Events::start);
    let mut events = ring.context(|| "load")?;
    let functions = attach(&mut session, &plan, &target.library).context(|| "attach")?;
    let attach = began.elapsed();
    let tokens = Tokens::random().context(|| "token")?;
    let told = Instant::now();
    let mut captured = Captured::default();
    child.tell(&tokens.order()).context(|| "exchange")?;
    let first = captured
        .wait(&mut events, deadline)
        .map(|()| told.elapsed());
    if let Some(reason) = finish(&child).context(|| "exchange")? {
        return Ok(Outcome::Skipped(reason));
    }
    // Records are made before calls return: all that there will be is in the ring by now.
    let rest = events.finish().into_iter();
    rest.for_each(|event| captured.take(event));
    check_losses(&session, events.undecodable()).context(|| "losses")?;
    captured.compare(&tokens).context(|| "compare")?;
    Ok(Outcome::Captured(Figures {
        version: target.version,
        path: target.library.path().display().to_string(),
        functions,
        attach,
        first: first.or_invalid(|| "nothing was captured in time")?,
    }))
}

/// The library that the child has loaded.
struct Target {
    library: ImageFile,
    version: String,
    /// Where the loader put SSL_read and SSL_write, as file offsets.
    loaded_at: [u64; 2],
}

impl Target {
    /// `None` if there is no library.
    fn hear(child: &Child) -> Result<Option<Self>> {
        let ended = || "the peer ended early";
        let said = child.hear()?.or_invalid(ended)?;
        if said == "absent" {
            return Ok(None);
        }
        let strange = || format!("the peer said: {said}");
        let mut words = said.splitn(4, ' ');
        let mut word = || words.next().or_invalid(strange);
        if word()? != "ready" {
            return Err(Error::invalid(strange()));
        }
        let mut offset = || word()?.parse().ok().or_invalid(strange);
        let loaded_at = [offset()?, offset()?];
        let library = ImageFile::open(Path::new(word()?))?;
        let version = child.hear()?.or_invalid(ended)?;
        Ok(Some(Self {
            library,
            version: version.trim_start_matches("version ").to_owned(),
            loaded_at,
        }))
    }

    /// Examines the library and compares what was found with what the loader says.
    fn plan(&self) -> Result<ProbePlan> {
        let report = self.report().context(|| "examine")?;
        let image = self.library.image().context(|| "examine")?;
        let plan = ProbePlan::new(&report, image.arch, image.is_64, self.library.identity())
            .context(|| "plan")?;
        for offset in self.loaded_at {
            // A function whose calls are all seen at another one gets no probe of its own.
            let mut functions = report
                .findings
                .iter()
                .flat_map(|finding| &finding.functions);
            let is_covered = functions
                .any(|function| function.file_offset.0 == offset && function.covered_by.is_some());
            let planned = is_covered || plan.probes.iter().any(|probe| probe.entry.0 == offset);
            planned.then_some(()).or_invalid(|| {
                format!("plan: the loader has a function at {offset:#x} that gets no probe")
            })?;
        }
        Ok(plan)
    }

    fn report(&self) -> Result<Report> {
        discover::examine(&self.library, &SymbolDb::load()?, &DebugDirs::default())
    }
}

/// Only processes of this program are reported, and of them not this one.
fn open(launcher: &Launcher) -> Result<Session> {
    let mut session = Session::open(&Settings {
        scope: Scope::Selected {
            asked: Property::Exe.bit(),
            follow: false,
        },
        ring_bytes: RING_BYTES,
        max_bytes: u64::MAX,
        tells_acts: false,
        watches_all: false,
    })?;
    let own = session.file_id(&launcher.file()?)?;
    session.answer(
        &Question {
            property: Property::Exe,
            value: own.0,
        },
        true,
    )?;
    session.follow_processes()?;
    session.scan()?;
    Ok(session)
}

fn attach(session: &mut Session, plan: &ProbePlan, library: &ImageFile) -> Result<usize> {
    let attached = session.attach(plan, library.file())?;
    match attached.failed.first() {
        None => Ok(attached.functions),
        Some((function, reason)) => Err(Error::new(
            ErrorKind::UnsupportedKernel,
            format!("no probe on {function}: {reason}"),
        )),
    }
}

/// What the child is to say.
struct Tokens {
    request: Vec<u8>,
    response: Vec<u8>,
}

impl Tokens {
    fn random() -> Result<Self> {
        let mut source = File::open("/dev/urandom").context(|| "failed to open /dev/urandom")?;
        let mut take = |length| {
            let mut bytes = vec![0; length];
            let read = source.read_exact(&mut bytes);
            read.context(|| "failed to read /dev/urandom")
                .map(|()| bytes)
        };
        Ok(Self {
            request: take(REQUEST_LEN)?,
            response: take(RESPONSE_LEN)?,
        })
    }

    fn order(&self) -> String {
        let [request, response] = [&self.request, &self.response].map(|bytes| hex::encode(bytes));
        format!("go {request} {response}")
    }

    /// What is to be seen, sorted.
    fn streams(&self) -> Vec<(Direction, &[u8])> {
        let mut streams = Vec::new();
        for direction in Direction::ALL {
            streams.push((direction, self.request.as_slice()));
            streams.push((direction, self.response.as_slice()));
        }
        streams.sort_unstable();
        streams
    }
}

/// Waits until the child is through. `Some` if its OpenSSL cannot do what it is asked, which says
/// nothing about us.
fn finish(child: &Child) -> Result<Option<String>> {
    match child.hear()?.as_deref() {
        Some("done") => Ok(None),
        Some(said) => match said.strip_prefix("failed ") {
            Some(reason) => Ok(Some(format!("this OpenSSL does not play along: {reason}"))),
            None => Err(Error::invalid(format!("the peer said: {said}"))),
        },
        None => Err(Error::invalid("the peer died while it was watched")),
    }
}

/// One direction of one connection.
#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    /// The first record that does not fit.
    flaw: Option<String>,
}

/// All plaintext. Other runs of this program may be in it: they are targets as well.
#[derive(Default)]
struct Captured {
    streams: BTreeMap<(ProcessId, ConnId, Direction), Stream>,
}

impl Captured {
    /// Waits for the first plaintext. `None` if none came in time.
    fn wait(&mut self, events: &mut Events, deadline: Instant) -> Option<()> {
        while self.streams.is_empty() {
            self.take(events.next_before(deadline)?);
        }
        Some(())
    }

    fn take(&mut self, event: Event<'_>) {
        let Event::Data { caller, conn, data } = event else {
            return;
        };
        let key = (caller.process, conn.id, data.direction);
        let stream = self.streams.entry(key).or_default();
        let length = stream.bytes.len() as u64;
        if data.offset != length || data.missing.is_some() {
            stream.flaw.get_or_insert(format!(
                "a {} record at byte {} follows byte {length}, missing: {:?}",
                data.direction, data.offset, data.missing
            ));
        }
        stream.bytes.extend_from_slice(&data.payload);
    }

    /// In the process that wrote the request there are two connections: one writes the request and reads
    /// the response, the other the reverse.
    fn compare(&self, tokens: &Tokens) -> Result<()> {
        let mut written = self
            .streams
            .iter()
            .filter(|((.., direction), _)| *direction == Direction::Write);
        let peer = written
            .find(|(_, stream)| stream.bytes == tokens.request)
            .map(|((process, ..), _)| *process)
            .or_invalid(|| format!("the request is in none of {} streams", self.streams.len()))?;
        let mut seen = Vec::new();
        for ((process, _, direction), stream) in &self.streams {
            if *process == peer {
                seen.push((*direction, stream.bytes.as_slice()));
                if let Some(flaw) = &stream.flaw {
                    return Err(Error::invalid(flaw.clone()));
                }
            }
        }
        seen.sort_unstable();
        if seen == tokens.streams() {
            return Ok(());
        }
        let total: usize = seen.iter().map(|(_, bytes)| bytes.len()).sum();
        Err(Error::invalid(format!(
            "{total} bytes in {} streams are not the {EXPECTED} bytes in 4 that were sent",
            seen.len()
        )))
    }
}

/// Calls that tell what another call tells are no losses.
fn check_losses(session: &Session, undecodable: u64) -> Result<()> {
    if undecodable > 0 {
        return Err(Error::invalid(
            "records of the kernel side could not be decoded",
        ));
    }
    for (counter, count) in session.counters()? {
        let harmless = matches!(counter, Counter::NestedCalls | Counter::PlainCalls);
        if count > 0 && !harmless {
            return Err(Error::invalid(format!(
                "the kernel side counted {counter:?}: {count}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Caller, Comm, Conn, Data};

    fn tokens() -> Tokens {
        Tokens {
            request: b"ask".to_vec(),
            response: b"answer".to_vec(),
        }
    }

    fn record(
        pid: u32,
        conn: u64,
        direction: Direction,
        offset: u64,
        payload: &'static [u8],
    ) -> Event<'static> {
        Event::Data {
            caller: Caller {
                ts_ns: 0,
                process: ProcessId { pid, start_ns: 0 },
                tid: pid,
                comm: Comm::default(),
            },
            conn: Conn {
                id: ConnId(conn),
                ptr: conn,
                fd: None,
                function: 0,
                born: true,
                half: None,
            },
            data: Data {
                direction,
                seq: 0,
                offset,
                call_len: payload.len() as u64,
                more: false,
                early: false,
                goroutine: None,
                unseen: 0,
                missing: None,
                left_out: 0,
                payload: payload.into(),
            },
        }
    }

    fn whole() -> Vec<Event<'static>> {
        use Direction::{Read, Write};
        vec![
            record(7, 1, Write, 0, b"ask"),
            record(7, 2, Read, 0, b"ask"),
            record(7, 2, Write, 0, b"answer"),
            record(7, 1, Read, 0, b"ans"),
            record(7, 1, Read, 3, b"wer"),
        ]
    }

    fn verdict(events: Vec<Event<'static>>) -> Result<()> {
        let mut captured = Captured::default();
        events.into_iter().for_each(|event| captured.take(event));
        captured.compare(&tokens())
    }

    /// Two runs of the doctor at once must not fail each other.
    #[test]
    fn others_do_not_disturb() {
        let mut events = whole();
        events.push(record(8, 3, Direction::Write, 0, b"another"));
        assert!(verdict(events).is_ok());
    }

    /// A self test that cannot fail proves nothing: any record lost, changed, doubled or out of place is
    /// seen.
    #[test]
    fn any_flaw_is_seen() {
        for index in 0..whole().len() {
            let mut lost = whole();
            lost.remove(index);
            assert!(verdict(lost).is_err(), "lost {index}");
            let mut doubled = whole();
            doubled.insert(index, whole().swap_remove(index));
            assert!(verdict(doubled).is_err(), "doubled {index}");
            let mut changed = whole();
            if let Some(Event::Data { data, .. }) = changed.get_mut(index) {
                data.payload.to_mut().reverse();
            }
            assert!(verdict(changed).is_err(), "changed {index}");
        }
    }
}
