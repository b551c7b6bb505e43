use super::*;
use crate::event::wire::HEADER_LEN;

const NOW: fn() -> Instant = Instant::now;

/// A data record of the kernel: `len` bytes of payload in a larger room.
fn data(len: usize, fill: u8) -> Vec<u8> {
    let mut record = vec![0; HEADER_LEN];
    record[88..92].copy_from_slice(&(len as u32).to_ne_bytes());
    record[98] = 1;
    record.extend(vec![fill; len.next_multiple_of(256)]);
    record
}

fn close() -> Vec<u8> {
    let mut record = vec![0; HEADER_LEN];
    record[98] = 4;
    record
}

fn records(queue: &Queue) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Next::Frame(frame) = queue.pop(NOW()) {
        let Frame::Records(block) = frame else {
            continue;
        };
        all.extend(block.records().map(<[u8]>::to_vec));
        queue.recycle(block);
    }
    all
}

/// A record would come out changed, in another order, or with the kernel's unused room.
#[test]
fn records_come_out_in_order() {
    let queue = Queue::new(1 << 20);
    let mut filler = Filler::new(Arc::clone(&queue));
    for n in 0..200 {
        assert_eq!(filler.take(&data(300, n), true), Taken::Whole);
    }
    filler.flush();
    let out = records(&queue);
    let expected: Vec<_> = (0..200)
        .map(|n| data(300, n)[..HEADER_LEN + 300].to_vec())
        .collect();
    assert_eq!(out, expected);
    assert_eq!(queue.bytes(), 0);
}

/// When nobody takes anything, memory would grow beyond the bound, or a loss would be told wrongly: first
/// payloads are left out, each with its length, then nothing is taken, and a mark still finds room after the
/// first payload was left out.
#[test]
fn a_full_queue_strips_then_refuses() {
    let bound = 4 << 20;
    let queue = Queue::new(bound);
    let mut filler = Filler::new(Arc::clone(&queue));
    let (mut whole, mut stripped) = (0, 0);
    let mut mark = None;
    loop {
        match filler.take(&data(16 << 10, 7), true) {
            Taken::Whole => {
                assert_eq!(stripped, 0, "nobody took anything");
                whole += 1;
            }
            Taken::Stripped => {
                stripped += 1;
                mark.get_or_insert_with(|| filler.take(&close(), true));
            }
            Taken::Refused => break,
        }
    }
    filler.flush();
    assert_eq!(mark, Some(Taken::Whole));
    // The last block may have unused room.
    assert!(queue.bytes() <= bound + BLOCK_MIN + size_of::<Frame>());
    assert!(whole * (16 << 10) > bound / 2, "{whole} of {bound}");
    assert!(stripped > 1000);
    let mut left_out = 0;
    let mut present = 0;
    for record in records(&queue) {
        if let Ok(crate::event::Event::Data { data, .. }) = wire::decode(&record) {
            left_out += data.left_out;
            present += data.payload.len();
        }
    }
    assert_eq!(left_out, stripped * (16 << 10));
    assert_eq!(present, whole * (16 << 10));
    assert_eq!(
        filler.take(&data(16 << 10, 7), true),
        Taken::Whole,
        "there is room again"
    );
}

/// Single records that wait would each hold the memory of a whole block.
#[test]
fn what_waits_takes_what_it_counts() {
    let queue = Queue::new(1 << 20);
    let mut filler = Filler::new(Arc::clone(&queue));
    for _ in 0..100 {
        filler.take(&close(), true);
        filler.flush();
    }
    let state = queue.state();
    let held: usize = state
        .frames
        .iter()
        .map(|frame| match frame {
            Frame::Records(block) => block.len() + block.room() + size_of::<Frame>(),
            _ => 0,
        })
        .sum();
    assert_eq!(held, queue.bytes());
}

/// The thread that fills would fill memory for nobody, or wait for nobody.
#[test]
fn an_abandoned_queue_takes_all_and_keeps_nothing() {
    let queue = Queue::new(256 << 10);
    let mut filler = Filler::new(Arc::clone(&queue));
    while filler.take(&data(16 << 10, 7), true) != Taken::Refused {}
    queue.abandon();
    for _ in 0..1000 {
        assert_ne!(filler.take(&data(16 << 10, 7), true), Taken::Refused);
    }
    filler.flush();
    assert_eq!(queue.bytes(), 0);
    assert!(!queue.push(Frame::Tick(1)));
}

/// The consumer would miss the end, or wait for it forever.
#[test]
fn the_end_comes_after_the_last_frame() {
    let queue = Queue::new(64);
    assert!(!queue.push(Frame::Tick(1)), "there is no room");
    assert!(queue.push(Frame::End(Default::default())), "always");
    queue.close();
    assert!(matches!(queue.pop(NOW()), Next::Frame(Frame::End(_))));
    assert!(matches!(queue.pop(NOW()), Next::Closed));
}
