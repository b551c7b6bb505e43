//! A program whose beginning the kernel side did not tell, since it had to ask first whether its process is wanted: told by
//! user space in the kernel side's own words, so that it is recorded, masked and read like any other.

use super::act::{ACT_LEN, TEXT_DELETED, TEXT_PLAIN, TEXT_TOO_LONG, TEXT_WALKED};
use super::block::Block;
use super::process::FileId;
use super::wire::{HEADER_LEN, KIND_ACT, KIND_WORDS};
use super::{Caller, Direction};

/// As many bytes of arguments, and of environment, as the kernel side tells (`WORDS_MAX`).
const WORDS_MAX: usize = 128 << 10;
/// As many in one record (`TIER_LARGE`).
const CHUNK_MAX: usize = 16 << 10;
/// As many of one text (`TEXT_MAX`).
const TEXT_MAX: usize = 4096;
const ACT_EXEC: u16 = 2;
const ACT_FLAG_WRITTEN: u16 = 8;
/// Only user space sets these.
pub(super) const ACT_FLAG_LATE: u16 = 32;
pub(super) const ACT_FLAG_UNSEEN: u16 = 64;

/// A program, and the process that runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Who, and when it began.
    pub caller: Caller,
    /// The executable.
    pub exe: FileId,
    /// A process that is followed wrote it before.
    pub was_written: bool,
    /// What was asked for.
    pub filename: Vec<u8>,
    /// What was found of it; nothing: it had ended.
    pub seen: Option<Seen>,
}

/// What a process shows while it runs its program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Path of the executable, as the process sees it.
    pub exe: Vec<u8>,
    /// That is no file's any more.
    pub is_deleted: bool,
    /// Where it runs, as the process sees it.
    pub cwd: Vec<u8>,
    /// What runs the file that was asked for, if that is a script.
    pub interpreter: Option<Vec<u8>>,
    /// Arguments, each with a zero behind it.
    pub args: Vec<u8>,
    /// Environment, in the same way.
    pub env: Vec<u8>,
    /// Real user and group, effective user and group.
    pub ids: [u32; 4],
    /// The controlling terminal; 0: none.
    pub tty: u32,
}

impl Begun {
    /// The records that tell it.
    pub fn records(&self) -> Block {
        let mut block = Block::default();
        if let Some(seen) = &self.seen {
            self.words(Direction::Write, &seen.args, &mut block);
            self.words(Direction::Read, &seen.env, &mut block);
        }
        let payload = self.act();
        let mut record = self.header(KIND_ACT, ACT_EXEC, Direction::Write, (0, 0), payload.len());
        record.extend(payload);
        block.push(&record);
        block
    }

    fn words(&self, direction: Direction, words: &[u8], block: &mut Block) {
        let told = words.get(..WORDS_MAX).unwrap_or(words);
        for (number, chunk) in told.chunks(CHUNK_MAX).enumerate() {
            let place = (number * CHUNK_MAX, words.len());
            let mut record = self.header(KIND_WORDS, 0, direction, place, chunk.len());
            record.extend(chunk);
            block.push(&record);
        }
    }

    /// `struct event_header`; `place`: the offset, and the length of all.
    fn header(
        &self,
        kind: u8,
        function: u16,
        direction: Direction,
        place: (usize, usize),
        len: usize,
    ) -> Vec<u8> {
        let caller = &self.caller;
        let mut header = Vec::with_capacity(HEADER_LEN + len);
        let (offset, call_len) = (place.0 as u64, place.1 as u64);
        for word in [caller.ts_ns, caller.process.start_ns, 0, 0] {
            header.extend(word.to_ne_bytes());
        }
        for word in [offset, call_len, 0, 0, 0, 0] {
            header.extend(word.to_ne_bytes());
        }
        for number in [caller.process.pid, caller.tid, len as u32, u32::MAX] {
            header.extend(number.to_ne_bytes());
        }
        header.extend(function.to_ne_bytes());
        header.extend([kind, u8::from(direction == Direction::Read)]);
        // Flags, and padding.
        header.extend([0; 4]);
        header.extend(caller.comm.0);
        header
    }

    /// `struct act`, and its texts.
    fn act(&self) -> Vec<u8> {
        let seen = self.seen.clone().unwrap_or_default();
        let [uid, gid, euid, egid] = seen.ids;
        let words = pair(seen.args.len() as u32, seen.env.len() as u32);
        let texts = self.texts();
        let mut act = Vec::with_capacity(ACT_LEN);
        act.extend(0_i64.to_ne_bytes());
        for value in [pair(uid, gid), pair(euid, egid), seen.tty.into(), words] {
            act.extend(value.to_ne_bytes());
        }
        act.extend(self.exe.0);
        for (text, _) in &texts {
            act.extend((text.len() as u16).to_ne_bytes());
        }
        act.extend(texts.iter().map(|(_, form)| *form));
        act.extend(self.flags().to_ne_bytes());
        act.extend([0; 2]);
        texts.iter().for_each(|(text, _)| act.extend(text));
        act
    }

    fn flags(&self) -> u16 {
        let unseen = if self.seen.is_none() {
            ACT_FLAG_UNSEEN
        } else {
            0
        };
        let written = if self.was_written {
            ACT_FLAG_WRITTEN
        } else {
            0
        };
        ACT_FLAG_LATE | unseen | written
    }

    /// As `ACT_EXEC` has them; what is not known has no form.
    fn texts(&self) -> [(Vec<u8>, u8); 4] {
        let filename = text(self.filename.clone(), TEXT_PLAIN);
        let Some(seen) = &self.seen else {
            return [
                Default::default(),
                Default::default(),
                filename,
                Default::default(),
            ];
        };
        let deleted = if seen.is_deleted { TEXT_DELETED } else { 0 };
        let interpreter = seen.interpreter.clone();
        [
            text(walked(&seen.exe), TEXT_WALKED | deleted),
            text(walked(&seen.cwd), TEXT_WALKED),
            filename,
            interpreter.map_or_else(Default::default, |name| text(name, TEXT_PLAIN)),
        ]
    }
}

/// Two numbers in one value.
fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn text(mut bytes: Vec<u8>, form: u8) -> (Vec<u8>, u8) {
    let is_whole = bytes.len() <= TEXT_MAX;
    bytes.truncate(TEXT_MAX);
    (bytes, if is_whole { form } else { form | TEXT_TOO_LONG })
}

/// Names from the file up to the root, each with a zero behind it.
fn walked(path: &[u8]) -> Vec<u8> {
    let names = path.split(|byte| *byte == b'/');
    let names = names.filter(|name| !name.is_empty());
    let names: Vec<_> = names.collect();
    let names = names.into_iter().rev();
    names.flat_map(|name| [name, b"\0"].concat()).collect()
}
