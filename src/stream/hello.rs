//! What a TLS client says in the open before anything else: the name of the host that it wants (RFC 6066,
//! section 3). Takes whatever has come of a ClientHello; what is cut off, or encrypted (ECH), is not guessed.

use tls_parser::{SNIType, TlsExtension};

/// Record header, and message type and length.
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// A name has no more (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 253;

/// The host's name in a ClientHello, with or without its record's header.
pub fn server_name(bytes: &[u8]) -> Option<String> {
    let message = match bytes.first()? {
        &HANDSHAKE => bytes.get(RECORD_HEADER..)?,
        _ => bytes,
    };
    if *message.first()? != CLIENT_HELLO {
        return None;
    }
    let body = message.get(MESSAGE_HEADER..)?;
    let (rest, hello) = tls_parser::parse_tls_handshake_client_hello(body).ok()?;
    // Extensions that have not come to their end are left behind, after their length.
    let extensions = hello.ext.or_else(|| rest.get(2..))?;
    let (_, extensions) = tls_parser::parse_tls_client_hello_extensions(extensions).ok()?;
    extensions.iter().find_map(|extension| match extension {
        TlsExtension::SNI(names) => names.iter().find_map(|(kind, name)| {
            let name = (*kind == SNIType::HostName).then_some(name)?;
            host_name(name)
        }),
        _ => None,
    })
}

/// A name as names of hosts are, in lower case; anything else is none.
pub fn host_name(name: &[u8]) -> Option<String> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(byte);
    let is_name = !name.is_empty() && name.len() <= NAME_MAX && name.iter().all(is_part);
    let text = std::str::from_utf8(name).ok().filter(|_| is_name)?;
    Some(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A ClientHello with these extensions.
    fn hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut list = Vec::new();
        for (kind, content) in extensions {
            list.extend(kind.to_be_bytes());
            list.extend((content.len() as u16).to_be_bytes());
            list.extend(content);
        }
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend((list.len() as u16).to_be_bytes());
        body.extend(list);
        let mut message = vec![1, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        let mut record = vec![22, 3, 1];
        record.extend((message.len() as u16).to_be_bytes());
        record.extend(message);
        record
    }

    fn sni(name: &[u8]) -> (u16, Vec<u8>) {
        let mut content = ((name.len() + 3) as u16).to_be_bytes().to_vec();
        content.push(0);
        content.extend((name.len() as u16).to_be_bytes());
        content.extend(name);
        (0, content)
    }

    /// The name is found with and without the record's header, and where the end of the hello is missing.
    #[test]
    fn names_are_found_in_parts_of_hellos() {
        let whole = hello(&[(23, vec![]), sni(b"API.example.com"), (51, vec![9; 1200])]);
        let name = Some("api.example.com".to_owned());
        assert_eq!(server_name(&whole), name);
        assert_eq!(server_name(&whole[5..]), name);
        assert_eq!(server_name(&whole[..300]), name);
        let late = hello(&[(51, vec![9; 1200]), sni(b"late.example.com")]);
        assert_eq!(server_name(&late[..300]), None);
        assert_eq!(server_name(&hello(&[sni(b"a b\x1b[2J")])), None);
    }

    proptest! {
        /// What hostile programs send is no panic.
        #[test]
        fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300),
                                cut in 0..400usize, at in 0..200usize, byte in any::<u8>()) {
            server_name(&bytes);
            let mut damaged = hello(&[(16, vec![0, 3, 2, b'h', b'2']), sni(b"host")]);
            damaged.truncate(cut);
            if let Some(place) = damaged.get_mut(at) {
                *place = byte;
            }
            server_name(&damaged);
        }
    }
}
