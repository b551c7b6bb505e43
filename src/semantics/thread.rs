//! Which calls go on from which: an agent sends its whole conversation with every call, so a call whose messages begin with
//! all messages of an earlier one continues that one's thread. Where a provider keeps the conversation, the numbers that it
//! gave tell the same.
//!
//! Messages are compared by digest, without what changes though nothing new is said (marks for caches are no part of the
//! model). A conversation that an agent rewrites (compacts) begins a new thread: nothing is guessed.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use serde::Serialize;

use super::model::{Message, Part, Request, Response};

/// Lists of messages, and numbers of answers, that are remembered; the oldest go first.
const KNOWN_MAX: usize = 1 << 16;

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

/// What changed since the call before in the same thread, besides new messages.
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
    /// Which call of it, from 1.
    pub turn: u64,
    /// The first of its messages that no earlier call of the thread had, counted from 0.
    pub new_from: usize,
    /// What else is new.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Tools that were wanted by an earlier answer, and whose results are among the new messages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_results: Vec<ToolResult>,
}

/// A tool's result, and who wanted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToolResult {
    /// The tool call's number.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The call whose answer wanted it, by the number that [`Threads::place`] was given.
    #[serde(serialize_with = "as_call")]
    pub wanted_by: u64,
}

fn as_call<S: serde::Serializer>(call: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("k{call}"))
}

/// What of a call decides where the next one stands.
#[derive(Clone, Copy)]
struct Known {
    thread: ThreadId,
    turn: u64,
    model: Digest,
    system: Digest,
    tools: Digest,
}

/// What tells that a call goes on from another one; first of all, who asks.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key<O> {
    /// The conversation's number that is on the wire.
    Conversation(O, String),
    /// All messages of a call.
    Messages(O, Digest),
    /// The number of an answer.
    Response(O, String),
}

/// All threads of a run. `O` names who asks: calls of different ones are never in one thread.
pub struct Threads<O> {
    count: u64,
    known: HashMap<Key<O>, Known>,
    order: VecDeque<Key<O>>,
    /// By who asks and the tool call's number: the tool, and the call that wanted it.
    tools: HashMap<(O, String), (String, u64)>,
    tools_order: VecDeque<(O, String)>,
}

impl<O> Default for Threads<O> {
    fn default() -> Self {
        Self {
            count: 0,
            known: HashMap::new(),
            order: VecDeque::new(),
            tools: HashMap::new(),
            tools_order: VecDeque::new(),
        }
    }
}

impl<O: Copy + Eq + Hash> Threads<O> {
    /// Finds the place of a call.
    pub fn place(&mut self, owner: O, request: &Request) -> Place {
        let prefixes = prefixes(&request.messages);
        let found = self.find(owner, request, &prefixes);
        let now = |thread, turn| Known {
            thread,
            turn,
            model: digest(&request.model),
            system: digest(&(&request.system, system_messages(request))),
            tools: digest(&request.tools),
        };
        let (known, new_from, changes) = match found {
            Some((before, new_from)) => {
                let known = now(before.thread, before.turn + 1);
                (known, new_from, changes(&before, &known))
            }
            None => {
                self.count += 1;
                (now(ThreadId(self.count), 1), 0, Vec::new())
            }
        };
        if let Some(Some(all)) = prefixes.last() {
            self.remember(Key::Messages(owner, *all), known);
        }
        if let Some(id) = &request.conversation_id {
            self.remember(Key::Conversation(owner, id.clone()), known);
        }
        let new = request.messages.get(new_from..).unwrap_or_default();
        Place {
            thread: known.thread,
            turn: known.turn,
            new_from,
            changes,
            tool_results: self.results(owner, new),
        }
    }

    /// The answer to a call with this place: a later call may name it, or bring the results of its tools.
    pub fn answered(
        &mut self,
        owner: O,
        call: u64,
        place: &Place,
        request: &Request,
        response: &Response,
    ) {
        if let Some(id) = &response.id {
            let known = Known {
                thread: place.thread,
                turn: place.turn,
                model: digest(&request.model),
                system: digest(&(&request.system, system_messages(request))),
                tools: digest(&request.tools),
            };
            self.remember(Key::Response(owner, id.clone()), known);
        }
        for choice in &response.choices {
            for part in &choice.message.parts {
                if let Part::ToolCall {
                    id: Some(id), name, ..
                } = part
                {
                    self.want(owner, id, name, call);
                }
            }
        }
    }

    fn find(
        &self,
        owner: O,
        request: &Request,
        prefixes: &[Option<Digest>],
    ) -> Option<(Known, usize)> {
        if let Some(id) = &request.previous_response_id {
            let known = self.known.get(&Key::Response(owner, id.clone()));
            // The provider has all that came before: what is sent is new.
            return known.map(|known| (*known, 0));
        }
        let longest = prefixes.iter().enumerate().rev().find_map(|(at, prefix)| {
            let known = self.known.get(&Key::Messages(owner, (*prefix)?))?;
            Some((*known, at + 1))
        });
        let by_conversation = || {
            let id = request.conversation_id.clone()?;
            let known = self.known.get(&Key::Conversation(owner, id))?;
            Some((*known, 0))
        };
        longest.or_else(by_conversation)
    }

    fn remember(&mut self, key: Key<O>, known: Known) {
        if self.known.insert(key.clone(), known).is_none() {
            self.order.push_back(key);
        }
        while self.known.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn want(&mut self, owner: O, id: &str, name: &str, call: u64) {
        let key = (owner, id.to_owned());
        if self
            .tools
            .insert(key.clone(), (name.to_owned(), call))
            .is_none()
        {
            self.tools_order.push_back(key);
        }
        while self.tools.len() > TOOLS_MAX
            && let Some(oldest) = self.tools_order.pop_front()
        {
            self.tools.remove(&oldest);
        }
    }

    fn results(&self, owner: O, new: &[Message]) -> Vec<ToolResult> {
        let parts = new.iter().flat_map(|message| &message.parts);
        let ids = parts.filter_map(|part| match part {
            Part::ToolCallResponse { id, .. } => id.clone(),
            _ => None,
        });
        ids.filter_map(|id| {
            let (name, wanted_by) = self.tools.get(&(owner, id.clone()))?;
            Some(ToolResult {
                id,
                name: name.clone(),
                wanted_by: *wanted_by,
            })
        })
        .collect()
    }
}

fn changes(before: &Known, now: &Known) -> Vec<Change> {
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

/// Instructions that stand among the messages.
fn system_messages(request: &Request) -> Vec<&Message> {
    request
        .messages
        .iter()
        .filter(|message| is_system(message))
        .collect()
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

fn digest(value: &impl Serialize) -> Digest {
    let mut hasher = blake3::Hasher::new();
    // What is ours has nothing that JSON cannot say.
    let _ = serde_json::to_writer(&mut hasher, value);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(role: &str, text: &str) -> Message {
        Message {
            role: role.into(),
            name: None,
            parts: vec![Part::Text {
                content: text.into(),
                citations: Vec::new(),
            }],
        }
    }

    fn ask(messages: &[Message]) -> Request {
        Request {
            model: Some("m".into()),
            messages: messages.to_vec(),
            ..Request::default()
        }
    }

    /// A conversation would fall apart, or two would become one.
    #[test]
    fn calls_that_go_on_are_one_thread() {
        let mut threads = Threads::<u8>::default();
        let list = [
            text("system", "s"),
            text("user", "a"),
            text("assistant", "b"),
            text("user", "c"),
        ];
        let first = threads.place(1, &ask(&list[..2]));
        assert_eq!(
            (first.thread, first.turn, first.new_from),
            (ThreadId(1), 1, 0)
        );
        let second = threads.place(1, &ask(&list));
        assert_eq!(
            (second.thread, second.turn, second.new_from),
            (ThreadId(1), 2, 2)
        );
        let other = threads.place(1, &ask(&[text("user", "x")]));
        assert_eq!((other.thread, other.turn), (ThreadId(2), 1));
        let stranger = threads.place(2, &ask(&list));
        assert_eq!((stranger.thread, stranger.turn), (ThreadId(3), 1));
    }

    /// A change of instructions, tools or model in the middle of a conversation would not be seen.
    #[test]
    fn changes_are_marked() {
        let mut threads = Threads::<u8>::default();
        threads.place(1, &ask(&[text("system", "be good"), text("user", "a")]));
        let mut next = ask(&[
            text("system", "be bad"),
            text("user", "a"),
            text("assistant", "b"),
            text("user", "c"),
        ]);
        next.model = Some("other".into());
        let place = threads.place(1, &next);
        assert_eq!((place.thread, place.turn), (ThreadId(1), 2));
        assert_eq!(place.changes, [Change::Model, Change::System]);
        next.tools.push(super::super::Tool::default());
        assert_eq!(threads.place(1, &next).changes, [Change::Tools]);
    }

    /// A tool's result would not be tied to the answer that wanted it; nor a call to one that the provider keeps.
    #[test]
    fn results_and_kept_conversations_are_tied() {
        let mut threads = Threads::<u8>::default();
        let request = ask(&[text("user", "a")]);
        let place = threads.place(1, &request);
        let call = Part::ToolCall {
            id: Some("x".into()),
            name: "ls".into(),
            arguments: serde_json::Value::Null,
        };
        let mut response = Response {
            id: Some("r1".into()),
            ..Response::default()
        };
        response.choices.push(super::super::Choice {
            message: Message {
                role: "assistant".into(),
                name: None,
                parts: vec![call],
            },
            ..Default::default()
        });
        threads.answered(1, 7, &place, &request, &response);
        let result = Message {
            role: "tool".into(),
            name: None,
            parts: vec![Part::ToolCallResponse {
                id: Some("x".into()),
                name: None,
                response: "files".into(),
                is_error: false,
            }],
        };
        let mut next = ask(&[result]);
        next.previous_response_id = Some("r1".into());
        let place = threads.place(1, &next);
        assert_eq!(
            (place.thread, place.turn, place.new_from),
            (ThreadId(1), 2, 0)
        );
        let wanted: Vec<_> = place
            .tool_results
            .iter()
            .map(|result| result.wanted_by)
            .collect();
        assert_eq!(wanted, [7]);
    }
}
