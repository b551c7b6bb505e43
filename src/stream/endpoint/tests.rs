//! Which names and protocols are read out of plaintext.

use std::borrow::Cow;

use super::*;

fn data(direction: Direction, bytes: &[u8]) -> Data<'_> {
    Data {
        direction,
        seq: 0,
        offset: 0,
        call_len: bytes.len() as u64,
        more: false,
        early: false,
        goroutine: None,
        unseen: 0,
        missing: None,
        left_out: 0,
        payload: Cow::Borrowed(bytes),
    }
}

const HEAD: &[u8] =
    b"POST /v1/messages HTTP/1.1\r\naccept: */*\r\nHost: API.example.com:8443\r\n\r\n{}";

/// A head that comes in two pieces, cut anywhere, tells its host, and tells it once.
#[test]
fn hosts_are_read_from_heads_cut_anywhere() {
    for cut in 5..HEAD.len() {
        let mut known = Known::default();
        let (first, second) = HEAD.split_at(cut);
        known.look_at(&data(Direction::Write, first));
        known.look_at(&data(Direction::Write, second));
        let news = known.news().expect("something new");
        let host = ("api.example.com:8443".to_owned(), HostFrom::Host);
        assert_eq!((news.host, news.protocol), (Some(host), Some("http/1.1")));
        known.look_at(&data(Direction::Write, HEAD));
        assert_eq!(known.news(), None);
    }
}

/// What is no request, never ends, or is cut by a gap names no host.
#[test]
fn what_is_no_head_names_no_host() {
    let endless = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &[b'y'; 20000]].concat();
    let said: [&[u8]; 4] = [
        b"hello",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &endless,
        b"GET ",
    ];
    for bytes in said {
        let mut known = Known::default();
        for _ in 0..10 {
            known.look_at(&data(Direction::Write, bytes));
        }
        assert_eq!(known.news(), None);
        assert!(known.head.is_none_or(|(_, head)| head.len() <= HEAD_MAX));
    }
}

/// A server's name that HTTP/2 tells is told, unless the ClientHello's is known or it is no name.
#[test]
fn authorities_are_told_where_nothing_better_is_known() {
    let mut known = Known::default();
    known.hear_authority("API.example.com:8443");
    let news = known.news().expect("something new");
    let host = ("api.example.com:8443".to_owned(), HostFrom::Authority);
    assert_eq!((news.host, news.protocol), (Some(host.clone()), Some("h2")));
    known.hear_authority("other.example");
    assert_eq!(known.news(), None);

    let mut known = Known::default();
    known.hear_authority("no \x1b[31m name");
    assert_eq!(known.news(), None);
    known.endpoint.host = Some(("sni.example".into(), HostFrom::Sni));
    known.hear_authority("api.example.com");
    assert_eq!(
        known.endpoint.host,
        Some(("sni.example".into(), HostFrom::Sni))
    );
}

/// The ClientHello's name counts more than the request's; a socket that is withdrawn takes it along.
#[test]
fn withdrawn_sockets_take_their_name_along() {
    let process = ProcessId {
        pid: 1,
        start_ns: 2,
    };
    let mut names = Names::default();
    names.by_socket.insert((process, 7), "sni.example".into());
    let mut known = Known::default();
    known.look_at(&data(Direction::Write, HEAD));
    let socket = SocketNames {
        trust: Trust::Exact,
        inode: Some(7),
        peer: "127.0.0.1:443".parse().ok(),
        ..SocketNames::default()
    };
    known.learn(process, &socket, &names);
    let news = known.news().expect("something new");
    assert_eq!(news.host, Some(("sni.example".into(), HostFrom::Sni)));
    assert!(known.is_attributed());
    let none = SocketNames {
        trust: Trust::Apart,
        ..SocketNames::default()
    };
    known.learn(process, &none, &names);
    let news = known.news().expect("something new");
    assert_eq!((news.host, news.peer), (None, None));
    assert!(!known.is_attributed());
}
