//! Feeds arbitrary bytes to dialects, as fuzzers and the tests of hostile input do.

use serde_json::Value;

use super::dialect::{Dialect, Merge, Piece, RequestView, Target};
use super::model::Operation;
use crate::proto::Fields;

/// Each line is a piece of a stream, in one of the ways in which pieces come.
pub(super) fn merge(mut merge: Box<dyn Merge>, data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        let (first, rest) = line.split_first().unwrap_or((&0, &[]));
        let (kind, payload) = text.split_once(' ').unwrap_or((&text, ""));
        let piece = match first {
            b'@' => Piece::Aws {
                kind: kind.trim_start_matches('@'),
                class: "event",
                payload: payload.as_bytes(),
            },
            b'!' => Piece::Aws {
                kind: kind.trim_start_matches('!'),
                class: "exception",
                payload: payload.as_bytes(),
            },
            b'#' => Piece::Json(rest),
            _ => Piece::Sse {
                event: None,
                data: &text,
            },
        };
        merge.piece(&piece, &mut drop);
    }
    merge.finish();
}

/// The data as a request and as an answer.
pub(super) fn whole(dialect: &dyn Dialect, data: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let view = RequestView {
        method: "POST",
        path: body.get("path").and_then(Value::as_str).unwrap_or_default(),
        query: "",
        host: "",
        fields: &Fields::default(),
        body: Some(&body),
    };
    let target = dialect.claims(&view).unwrap_or_else(|| Target {
        provider: String::new(),
        operation: Operation::Chat,
        model: None,
    });
    for operation in [
        Operation::Chat,
        Operation::Embeddings,
        Operation::Rerank,
        Operation::TextCompletion,
    ] {
        let target = Target {
            operation,
            ..target.clone()
        };
        dialect.request(&target, &body);
        dialect.response(&target, 200, &body);
        dialect.response(&target, 500, &body);
    }
}
