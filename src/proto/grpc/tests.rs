use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

type Message = (bool, Vec<u8>, u64);

fn framed(messages: &[(bool, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (compressed, bytes) in messages {
        body.push(u8::from(*compressed));
        body.extend((bytes.len() as u32).to_be_bytes());
        body.extend(bytes);
    }
    body
}

fn read<'b>(
    pieces: impl IntoIterator<Item = &'b [u8]>,
    limit: usize,
) -> (Vec<Message>, Result<(), Fault>) {
    let mut messages = Vec::new();
    let mut decoder = GrpcMessages::new(limit);
    let mut keep = |message: GrpcMessage<'_>| {
        messages.push((message.compressed, message.bytes.to_vec(), message.missing));
    };
    for piece in pieces {
        decoder.push(piece, &mut keep);
    }
    let end = decoder.finish(&mut keep);
    (messages, end)
}

/// Calls over gRPC would not be seen, or only if they come in one piece.
#[test]
fn messages_come_out_however_they_are_cut() {
    let sent = [
        (false, b"hello".to_vec()),
        (true, vec![]),
        (true, vec![7; 300]),
        (false, vec![1]),
    ];
    let body = framed(&sent);
    let expected: Vec<Message> = sent
        .iter()
        .map(|(flag, bytes)| (*flag, bytes.clone(), 0))
        .collect();
    for at in 0..=body.len() {
        let (front, back) = body.split_at(at);
        assert_eq!(read([front, back], 1 << 20), (expected.clone(), Ok(())));
    }
    assert_eq!(read(body.chunks(1), 1 << 20), (expected, Ok(())));
}

/// A message that is cut, lost or too large would be handed on as a whole one.
#[test]
fn what_is_not_whole_says_so() {
    let body = framed(&[(false, b"0123456789".to_vec()), (false, b"next".to_vec())]);
    let next = (false, b"next".to_vec(), 0);
    assert_eq!(read([&body[..]], 9).0, [(false, vec![], 10), next.clone()]);
    assert_eq!(
        read([&body[..10]], 99),
        (vec![(false, b"01234".to_vec(), 5)], Ok(()))
    );
    assert_eq!(read([&body[..3]], 99), (vec![], Err(CUT_PREFIX)));
    assert_eq!(read([&[2, 0, 0, 0, 0][..]], 99), (vec![], Err(BAD_FLAGS)));
    let lossy = |lost: Option<u64>, rest: usize| {
        let mut messages = Vec::new();
        let mut decoder = GrpcMessages::new(99);
        let mut keep = |message: GrpcMessage<'_>| {
            messages.push((message.compressed, message.bytes.to_vec(), message.missing));
        };
        decoder.push(&body[..8], &mut keep);
        decoder.gap(lost, &mut keep);
        decoder.push(&body[rest..], &mut keep);
        let end = decoder.finish(&mut keep);
        (messages, end)
    };
    let cut = (false, b"012".to_vec(), 7);
    assert_eq!(
        lossy(Some(2), 10),
        (vec![cut.clone(), next.clone()], Ok(()))
    );
    assert_eq!(lossy(Some(7), 15), (vec![cut.clone(), next], Ok(())));
    assert_eq!(lossy(Some(8), 16), (vec![cut.clone()], Err(LOST)));
    assert_eq!(lossy(None, 16), (vec![cut], Err(LOST)));
}

proptest! {
    /// Any body could end the observer, or mean something else when it is cut elsewhere.
    #[test]
    fn nothing_panics(data in vec(prop_oneof![0..3_u8, any::<u8>()], 0..300)) {
        fuzz_grpc(&data);
    }

    /// A body would be read as something else than was sent.
    #[test]
    fn what_was_sent_comes_out(sent in vec((any::<bool>(), vec(any::<u8>(), 0..200)), 0..10), step in 1_usize..50) {
        let expected: Vec<Message> = sent.iter().map(|(flag, bytes)| (*flag, bytes.clone(), 0)).collect();
        prop_assert_eq!(read(framed(&sent).chunks(step), 1 << 20), (expected, Ok(())));
    }
}
