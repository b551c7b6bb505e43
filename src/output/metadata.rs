//! Who spoke with whom, when, and how much: without what was said.

use serde_json::Value;

use crate::deeds::deed::{self, Deed};
use crate::dialog::{Said, What};
use crate::graph::{Edge, Thing};
use crate::semantics::walk::Visitor;

/// Takes all content out; `None`: nothing is left worth telling. Names stay (of models, tools, headers), and so do the values
/// of headers, which the redactor masks; paths stay, queries go.
pub fn without_content(mut said: Said) -> Option<Said> {
    match &mut said.what {
        What::Asked(asked) => asked.call.visit(&mut Eraser),
        What::Call(report) => {
            report.call.visit(&mut Eraser);
            if let Some(error) = &mut report.error {
                // Behind it come the provider's words, which may repeat ours.
                let kind = error.split(": ").next().unwrap_or_default().to_owned();
                *error = kind;
            }
        }
        What::Delta { .. } => return None,
        What::Event(event) => event.data.clear(),
        What::Mcp(message) => message.visit(&mut Eraser),
        What::Request(request) => {
            request.body.bytes.clear();
            if let Some(target) = &mut request.target
                && let Some(query) = target.find('?')
            {
                target.truncate(query);
            }
        }
        What::Response(response) => response.body.bytes.clear(),
        What::WebSocket(message) => message.bytes.clear(),
    }
    Some(said)
}

/// Takes out what was said through pipes, and on command lines all but the program's name.
pub fn deed_without_content(deed: &mut Deed) {
    match &mut deed.what {
        deed::What::Stdio(stdio) => {
            stdio.data = None;
            stdio.data_b64 = None;
        }
        deed::What::Exec(exec) => {
            let left_out: usize = exec.args.iter().skip(1).map(|word| word.len() + 1).sum();
            exec.args.truncate(1);
            exec.args_missing = exec.args_missing.saturating_add(left_out as u64);
            exec.env.clear();
        }
        _ => {}
    }
}

/// The same of what led to what.
pub fn edge_without_content(edge: &mut Edge) {
    for node in [&mut edge.from, &mut edge.to] {
        match &mut node.thing {
            Thing::Call { prompt, .. } => *prompt = None,
            Thing::Exec { args, .. } => args.truncate(1),
            Thing::ToolCall { arguments, .. } => arguments.clear(),
            Thing::ToolResult { text, .. } => text.clear(),
            Thing::File { .. } | Thing::Host { .. } | Thing::Mcp { .. } | Thing::Process { .. } => {
            }
        }
    }
}

struct Eraser;

impl Visitor for Eraser {
    fn text(&mut self, text: &mut String) {
        text.clear();
    }

    fn json(&mut self, value: &mut Value) {
        *value = Value::Null;
    }
}
