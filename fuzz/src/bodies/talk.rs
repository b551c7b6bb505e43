//! What is said on connections: decoders, dialects, whole connections, and secrets in all of that. Each decoder has its own
//! body beside it, which checks what it tells.

use std::borrow::Cow;
use std::cell::RefCell;

use agentsight::event::Direction;
use agentsight::redact::{Level, Redactor, Rules, TextKey};

/// The first byte says how the rest is cut. Masking never changes how long a text is, wherever it is cut, and what is found
/// lies in the text.
pub fn redact(data: &[u8]) {
    let Some((&cut, rest)) = data.split_first() else {
        return;
    };
    let size = usize::from(cut) + 1;
    with_redactor(|redactor| {
        for found in redactor.find(rest) {
            assert!(found.range.end <= rest.len() && !found.range.is_empty());
        }
        chunks(redactor, rest, size);
        let text = String::from_utf8_lossy(rest);
        pieces(redactor, &text, size);
        let mut whole = text.clone().into_owned();
        redactor.text(&mut whole);
        if let Some((name, value)) = text.split_once('\n') {
            redactor.field(name, &mut value.to_owned());
        }
        if let Ok(mut value) = serde_json::from_slice(rest) {
            redactor.json(&mut value);
        }
    });
}

/// As bytes of a connection.
fn chunks(redactor: &mut Redactor, data: &[u8], size: usize) {
    let mut offset = 0;
    for chunk in data.chunks(size) {
        let mut bytes = Cow::Borrowed(chunk);
        redactor.mask((1, Direction::Read), offset, &mut bytes);
        assert_eq!(bytes.len(), chunk.len());
        offset += chunk.len() as u64;
    }
    redactor.forget(1);
}

/// As a model streams it.
fn pieces(redactor: &mut Redactor, text: &str, size: usize) {
    let key = TextKey::default();
    let chars: Vec<char> = text.chars().collect();
    let mut given = 0;
    for piece in chars.chunks(size) {
        let mut piece: String = piece.iter().collect();
        redactor.stream_text(key, &mut piece);
        given += piece.len();
    }
    given += redactor.flush(key).len();
    assert_eq!(given, text.len(), "text is lost or made up");
}

/// Loading the rules takes longer than most inputs.
fn with_redactor(act: impl FnOnce(&mut Redactor)) {
    thread_local! {
        static REDACTOR: RefCell<Redactor> = RefCell::new(
            Redactor::with_rules(Rules::new(Level::Strict).unwrap(), [1; 32]).unwrap(),
        );
    }
    REDACTOR.with_borrow_mut(act);
}
