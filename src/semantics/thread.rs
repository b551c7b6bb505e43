//! Which calls go on from which: an agent sends its whole conversation with every call, so a call whose messages begin with
//! all messages of an earlier one continues that one's thread. Where a provider keeps the conversation, the numbers that it
//! gave tell the same.
//!
//! Messages are compared by digest, without what changes though nothing new is said (marks for caches are no part of the
//! model). Where several calls asked the same, what their answers said tells which of them goes on. A conversation that an
//! agent rewrites (compacts) begins a new thread, and so does one that could go on from several: nothing is guessed. The
//! number of an agent's session says nothing here: its titles, its helpers and what it compacted have the same.

mod answer;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

use serde::Serialize;

use super::model::{Message, Operation, Part, Request, Response};
use answer::{Answer, Want};

/// Calls that are remembered; the oldest go first.
const KNOWN_MAX: usize = 1 << 16;

/// Of these, those that asked the same.
const ALIKE_MAX: usize = 64;

/// Tools that wait for their results; the oldest go first.
const TOOLS_MAX: usize = 1 << 14;

type Digest = [u8; 32];

/// A thread's number in one run, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ThreadId(pub u64);

impl Serialize for ThreadId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("t{}", self.0))
    }
}

/// What changed since the call that it goes on from, besides new messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Another model is asked.
    Model,
    /// The instructions are other ones.
    System,
    /// Other tools are offered, or others of their descriptions.
    Tools,
}

/// Where a call stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// In which thread.
    #[serde(rename = "id")]
    pub thread: ThreadId,
    /// How many questions lead here, with this one. What is asked again after it failed has the same number, and so have
    /// questions that go on from the same answer.
    pub turn: u64,
    /// The first of its messages that no earlier call of the thread had, counted from 0.
    pub new_from: usize,
    /// What else is new.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Tools that were wanted by an earlier answer, and whose results are among the new messages, in the order of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_results: Vec<ToolResult>,
}

/// A tool's result, and who wanted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToolResult {
    /// The tool call's number, as the result says it; some providers give none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The tool.
    pub name: String,
    /// The call whose answer wanted it, by the number that [`Threads::place`] was given.
    #[serde(serialize_with = "as_call")]
    pub wanted_by: u64,
    /// Which part of that answer's message wanted it, from 0.
    pub part: u64,
}

fn as_call<S: serde::Serializer>(call: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("k{call}"))
}

/// What of a call decides where the next one stands.
struct Known<O> {
    keys: Vec<Key<O>>,
    thread: ThreadId,
    turn: u64,
    settings: Settings,
    answer: Answer,
    has_failed: bool,
    /// Another call goes on from it.
    is_continued: bool,
}

/// What may change within a thread.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Settings {
    model: Digest,
    system: Digest,
    tools: Digest,
}

/// What tells that a call goes on from another one; first of all, who asks.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key<O> {
    /// The number of a conversation that the provider keeps.
    Conversation(O, String),
    /// All messages of a call.
    Messages(O, Digest),
    /// The number of an answer.
    Response(O, String),
}

/// The call before.
struct Before {
    call: u64,
    new_from: usize,
    /// It failed, and is asked again.
    is_again: bool,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'r> {
    /// Only some operations are part of a conversation.
    pub operation: Operation,
    /// It.
    pub request: &'r Request,
    /// The provider keeps the conversation that the request names; else the name is the agent's own.
    pub is_kept: bool,
}

/// All threads of a run. `O` names who asks: calls of different ones are never in one thread.
pub struct Threads<O> {
    count: u64,
    known: BTreeMap<u64, Known<O>>,
    /// The calls with this key, the oldest first.
    places: HashMap<Key<O>, VecDeque<u64>>,
    /// By who asks and the tool call's number: the tool, and the call that wanted it.
    tools: HashMap<(O, String), (Want, u64)>,
    tools_order: VecDeque<(O, String)>,
}

impl<O> Default for Threads<O> {
    fn default() -> Self {
        Self {
            count: 0,
            known: BTreeMap::new(),
            places: HashMap::new(),
            tools: HashMap::new(),
            tools_order: VecDeque::new(),
        }
    }
}

impl<O: Copy + Eq + Hash> Threads<O> {
    /// Finds the place of a call, whose number is larger than that of all before it; `None`: it is no part of a
    /// conversation.
    pub fn place(&mut self, owner: O, call: u64, question: &Question<'_>) -> Option<Place> {
        if !matches!(
            question.operation,
            Operation::Chat | Operation::GenerateContent
        ) {
            return None;
        }
        let request = question.request;
        let prefixes = prefixes(&request.messages);
        let settings = Settings::new(request);
        let before = self.before(owner, question, &settings, &prefixes);
        let (thread, turn, changes) = match self.settled(before.as_ref()) {
            Some(known) => {
                let is_again = before.as_ref().is_some_and(|before| before.is_again);
                let turn = known.turn + u64::from(!is_again);
                (known.thread, turn, changes(&known.settings, &settings))
            }
            None => {
                self.count += 1;
                (ThreadId(self.count), 1, Vec::new())
            }
        };
        let new_from = before.as_ref().map_or(0, |before| before.new_from);
        let new = request.messages.get(new_from..).unwrap_or_default();
        let tool_results = self.results(owner, before.as_ref(), new);
        if let Some(before) = before {
            self.leave(&before);
        }
        let known = Known {
            keys: Vec::new(),
            thread,
            turn,
            settings,
            answer: Answer::default(),
            has_failed: false,
            is_continued: false,
        };
        self.remember(call, known);
        self.add_keys(owner, call, question, &prefixes);
        Some(Place {
            thread,
            turn,
            new_from,
            changes,
            tool_results,
        })
    }

    /// The answer to a call: a later one may name it, repeat it, or bring the results of its tools.
    pub fn answered(&mut self, owner: O, call: u64, response: &Response) {
        let Some(known) = self.known.get_mut(&call) else {
            return;
        };
        known.answer = Answer::new(response);
        for want in known.answer.wanted.clone() {
            self.want(owner, want, call);
        }
        if let Some(id) = &response.id {
            self.add_key(call, Key::Response(owner, id.clone()));
        }
    }

    /// How it went: what failed may be asked again.
    pub fn ended(&mut self, call: u64, has_failed: bool) {
        if let Some(known) = self.known.get_mut(&call) {
            known.has_failed = has_failed;
        }
    }

    fn settled(&self, before: Option<&Before>) -> Option<&Known<O>> {
        self.known.get(&before?.call)
    }

    fn before(
        &self,
        owner: O,
        question: &Question<'_>,
        settings: &Settings,
        prefixes: &[Option<Digest>],
    ) -> Option<Before> {
        let request = question.request;
        let kept = match (&request.previous_response_id, &request.conversation_id) {
            (Some(id), _) => Some(Key::Response(owner, id.clone())),
            (None, Some(id)) if question.is_kept => Some(Key::Conversation(owner, id.clone())),
            _ => None,
        };
        if let Some(key) = kept {
            // The provider has all that came before: what is sent is new.
            return self.places.get(&key)?.back().map(|call| Before {
                call: *call,
                new_from: 0,
                is_again: false,
            });
        }
        let all = (*prefixes.last()?)?;
        if let Some(call) = self.failed(owner, all) {
            return Some(Before {
                call,
                new_from: prefixes.len(),
                is_again: true,
            });
        }
        let earlier = prefixes.iter().enumerate().rev();
        let earlier = earlier.filter_map(|(at, prefix)| Some((at + 1, (*prefix)?)));
        let mut earlier = earlier.filter(|(_, prefix)| *prefix != all);
        let (new_from, alike) = earlier.find_map(|(new_from, prefix)| {
            let alike = self.places.get(&Key::Messages(owner, prefix))?;
            Some((new_from, alike))
        })?;
        let new = request.messages.get(new_from..).unwrap_or_default();
        Some(Before {
            call: self.choose(alike, settings, new)?,
            new_from,
            is_again: false,
        })
    }

    /// The first call with all these messages that failed and was not asked again.
    fn failed(&self, owner: O, all: Digest) -> Option<u64> {
        let alike = self.places.get(&Key::Messages(owner, all))?;
        let is_failed = |known: &Known<O>| known.has_failed && !known.is_continued;
        let mut failed = alike.iter().copied();
        failed.find(|call| self.known.get(call).is_some_and(is_failed))
    }

    /// Of calls that asked the same, the one whose answer these messages repeat. If they repeat none: the one with the same
    /// settings whose answer was not seen, or that is the only one.
    fn choose(&self, alike: &VecDeque<u64>, settings: &Settings, new: &[Message]) -> Option<u64> {
        if let [call] = *alike.iter().copied().collect::<Vec<_>>() {
            return Some(call);
        }
        let marks = answer::marks(new);
        let known = alike.iter().filter_map(|call| {
            let known = self.known.get(call)?;
            let repeated = known.answer.repeated(&marks);
            let is_open = repeated == 0 && known.answer.is_unknown();
            Some((
                *call,
                known,
                (repeated, is_open, known.settings == *settings),
            ))
        });
        let known: Vec<_> = known.collect();
        let best = known.iter().map(|(_, _, fit)| *fit).max()?;
        let fitting: Vec<_> = known
            .into_iter()
            .filter(|(_, _, fit)| *fit == best)
            .collect();
        let (first, of, _) = fitting.first()?;
        let are_one = fitting
            .iter()
            .all(|(_, known, _)| known.thread == of.thread);
        let (repeated, ..) = best;
        if fitting.len() > 1 && !are_one && repeated == 0 {
            return None;
        }
        // What they said is the same up to here.
        let mut fresh = fitting.iter().filter(|(_, known, _)| !known.is_continued);
        Some(fresh.next().map_or(*first, |(call, ..)| *call))
    }

    fn remember(&mut self, call: u64, known: Known<O>) {
        self.known.insert(call, known);
        while self.known.len() > KNOWN_MAX
            && let Some((oldest, known)) = self.known.pop_first()
        {
            self.unlink(oldest, &known.keys);
        }
    }

    /// The call before this one has one behind it now, or is replaced by it.
    fn leave(&mut self, before: &Before) {
        if before.is_again {
            if let Some(known) = self.known.remove(&before.call) {
                self.unlink(before.call, &known.keys);
            }
        } else if let Some(known) = self.known.get_mut(&before.call) {
            known.is_continued = true;
        }
    }

    fn unlink(&mut self, call: u64, keys: &[Key<O>]) {
        for key in keys {
            if let Some(alike) = self.places.get_mut(key) {
                alike.retain(|other| *other != call);
                if alike.is_empty() {
                    self.places.remove(key);
                }
            }
        }
    }

    fn add_keys(
        &mut self,
        owner: O,
        call: u64,
        question: &Question<'_>,
        prefixes: &[Option<Digest>],
    ) {
        let request = question.request;
        let name = request.conversation_id.as_ref();
        if let Some(id) = name.filter(|_| question.is_kept) {
            self.add_key(call, Key::Conversation(owner, id.clone()));
        } else if request.previous_response_id.is_none()
            && let Some(Some(all)) = prefixes.last()
        {
            self.add_key(call, Key::Messages(owner, *all));
        }
    }

    fn add_key(&mut self, call: u64, key: Key<O>) {
        let Some(known) = self.known.get_mut(&call) else {
            return;
        };
        known.keys.push(key.clone());
        let alike = self.places.entry(key).or_default();
        alike.push_back(call);
        if alike.len() > ALIKE_MAX {
            alike.pop_front();
        }
    }

    fn want(&mut self, owner: O, want: Want, call: u64) {
        let Some(id) = want.id.clone() else {
            return;
        };
        let key = (owner, id);
        if self.tools.insert(key.clone(), (want, call)).is_none() {
            self.tools_order.push_back(key);
        }
        while self.tools.len() > TOOLS_MAX
            && let Some(oldest) = self.tools_order.pop_front()
        {
            self.tools.remove(&oldest);
        }
    }

    /// Results go to the answer before them: by number, or, where they or it have none, by name and order. A number may
    /// also be one of any other answer.
    fn results(&self, owner: O, before: Option<&Before>, new: &[Message]) -> Vec<ToolResult> {
        let last = self.settled(before).map(|known| &known.answer.wanted);
        let mut open: Vec<&Want> = last.into_iter().flatten().collect();
        let mut results = Vec::new();
        let mut is_direct = true;
        for message in new {
            is_direct &= results.is_empty() || !answer::is_said(message);
            for part in &message.parts {
                let Part::ToolCallResponse { id, name, .. } = part else {
                    continue;
                };
                let id = id.as_deref().filter(|id| !id.is_empty());
                let numbered = id.and_then(|id| self.tools.get(&(owner, id.to_owned())));
                let place = answer::place(&open, id, name.as_deref(), numbered.is_none());
                let (want, wanted_by) = match (place, before, numbered) {
                    (Some(place), Some(before), _) if is_direct => {
                        (open.remove(place), before.call)
                    }
                    (_, _, Some((want, call))) => (want, *call),
                    _ => continue,
                };
                results.push(ToolResult {
                    id: id.map(str::to_owned),
                    name: want.name.clone(),
                    wanted_by,
                    part: want.part,
                });
            }
        }
        results
    }
}

impl Settings {
    fn new(request: &Request) -> Self {
        let system = request.messages.iter();
        let system: Vec<_> = system.filter(|message| is_system(message)).collect();
        Self {
            model: digest(&request.model),
            system: digest(&(&request.system, system)),
            tools: digest(&request.tools),
        }
    }
}

fn changes(before: &Settings, now: &Settings) -> Vec<Change> {
    let pairs = [
        (Change::Model, before.model, now.model),
        (Change::System, before.system, now.system),
        (Change::Tools, before.tools, now.tools),
    ];
    let changed = pairs.into_iter().filter(|(_, before, now)| before != now);
    changed.map(|(change, _, _)| change).collect()
}

fn is_system(message: &Message) -> bool {
    matches!(message.role.as_str(), "system" | "developer")
}

/// The digest of the first message, of the first two, and so on. Instructions do not count, since they may change within
/// a thread: what has nothing else has no digest.
fn prefixes(messages: &[Message]) -> Vec<Option<Digest>> {
    let mut so_far = blake3::Hasher::new();
    let mut prefixes = Vec::with_capacity(messages.len());
    for message in messages {
        if !is_system(message) {
            so_far.update(&digest(message));
        }
        let is_something = so_far.count() > 0;
        prefixes.push(is_something.then(|| *so_far.finalize().as_bytes()));
    }
    prefixes
}

fn digest(value: &(impl Serialize + ?Sized)) -> Digest {
    let mut hasher = blake3::Hasher::new();
    // What is ours has nothing that JSON cannot say.
    let _ = serde_json::to_writer(&mut hasher, value);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests;
